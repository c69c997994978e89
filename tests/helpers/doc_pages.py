"""What the tests of the documentation read: pages, code blocks, commands, links."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
ALL_PAGES = (*PAGES, *sorted((ROOT / "docs").glob("*/*.md")), *sorted(ROOT.glob("*/README.md")))
PROGRAM = "ovito-mace-phase"
_MARK = re.compile(r"<!-- (not run|slow): (.+?) -->")
_BLOCK = re.compile(r"^```(\S*)[^\n]*\n(.*?)^```$", re.M | re.S)


@dataclass(frozen=True, kw_only=True)
class Block:
    """One fenced block of Python.

    Attributes
    ----------
    page : Path
    line : int
        Of the first line of code, from 1.
    code : str
    mark : str
        "not run", "slow" or "".
    reason : str
    """

    page: Path
    line: int
    code: str
    mark: str
    reason: str


def name_of(page: Path) -> str:
    """Path of a page below the root."""
    return page.relative_to(ROOT).as_posix()


def python_blocks(page: Path) -> list[Block]:
    """Find the Python blocks of a page; above may stand `<!-- not run: reason -->` or `<!-- slow: reason -->`."""
    text = page.read_text(encoding="utf-8")
    blocks = []
    for match in _BLOCK.finditer(text):
        if match[1] == "python":
            before = text[: match.start()].rstrip().rpartition("\n")[2]
            mark = _MARK.fullmatch(before.strip())
            blocks.append(
                Block(
                    page=page,
                    line=text[: match.start(2)].count("\n") + 1,
                    code=match[2],
                    mark=mark[1] if mark else "",
                    reason=mark[2] if mark else "",
                )
            )
    return blocks


def command_lines(page: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield (line, arguments) of the program's calls in indented and console blocks; a backslash continues a line."""
    lines = page.read_text(encoding="utf-8").splitlines()
    fence = None
    number = 0
    while number < len(lines):
        line, start = lines[number], number + 1
        number += 1
        if line.startswith("```"):
            fence = None if fence is not None else line[3:].strip()
            continue
        shown = fence in ("console", "sh", "bash", "shell", "") or (fence is None and line.startswith("    "))
        command = line.strip().removeprefix("$ ")
        if not shown or not command.startswith(PROGRAM + " "):
            continue
        while command.endswith("\\"):
            command = command[:-1] + lines[number].strip()
            number += 1
        yield start, shlex.split(command, comments=True)[1:]


def inline_commands(page: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield (line, arguments) of the program's calls in code spans of the text."""
    text = re.sub(
        r"^```.*?^```$", lambda match: "\n" * match[0].count("\n"), page.read_text("utf-8"), flags=re.M | re.S
    )
    for match in re.finditer(rf"`{PROGRAM} ([^`]+)`", text):
        yield text[: match.start()].count("\n") + 1, shlex.split(match[1])


def links(page: Path) -> list[str]:
    """Return the targets of links and pictures that are no web addresses."""
    text = _BLOCK.sub("", page.read_text(encoding="utf-8"))
    return [
        link for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link and not link.startswith("mailto:")
    ]


def anchors(page: Path) -> set[str]:
    """Return the anchors that a code host makes of the headings."""
    text = _BLOCK.sub("", page.read_text(encoding="utf-8"))
    found: set[str] = set()
    for heading in re.findall(r"^#{1,6} +(.+?) *$", text, re.M):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        found.add(re.sub(r"[^\w\- ]", "", plain).replace(" ", "-"))
    return found
