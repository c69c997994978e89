"""Parameters of PTM and CNA that this modifier lacks, and what to use instead: for scripts that migrate."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

FOREIGN = {
    "output_ordering": "ordered phases such as L1_2, L1_0 and CSCL are phases of their own, found by particle type",
    "mode": "there is no mode to choose and no cutoff",
    "cutoff": "there is no cutoff to choose: lengths are taken from the frame",
}
"""Name -> remedy."""
_HARMLESS = (False, None)


def check_parameter(name: str, value: Any, known: Sequence[str]) -> bool:
    """Tell whether a parameter can be ignored: one of PTM or CNA whose value is False or None.

    Raises
    ------
    TypeError
        For any other name that is not in `known`.
    """
    if name in FOREIGN:
        if any(value is one for one in _HARMLESS):
            return True
        raise TypeError(f"MacePhaseModifier has no parameter {name!r}: {FOREIGN[name]}")
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise TypeError(f"MacePhaseModifier has no parameter {name!r}; {hint}the parameters are: {', '.join(known)}")
