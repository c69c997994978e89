"""What a check found: fine, worth a note, or wrong, and then what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["fine", "note", "wrong"]
_WIDTH = 10


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at.

    Attributes
    ----------
    name : str
        What was looked at, in one word.
    text : str
        What was found.
    state : 'fine', 'note' or 'wrong'
        note: everything works, but slower or with less than it could; wrong: results cannot be had or trusted.
    remedy : str
        What to do about it; "" where nothing is to be done.
    """

    name: str
    text: str
    state: State = "fine"
    remedy: str = ""

    def lines(self) -> str:
        """Return the finding for the terminal."""
        mark = {"fine": "", "note": "note: ", "wrong": "WRONG: "}[self.state]
        text = f"{self.name:<{_WIDTH}}{mark}{self.text}"
        return text + (f"\n{'':<{_WIDTH}}remedy: {self.remedy}" if self.remedy else "")
