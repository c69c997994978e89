"""What a core does for one atom in `classify`, part by part, in one thread.

    time of a part = time between call and return of its functions, less that of the parts called within

The functions are replaced, while it lasts, by ones that look at the clock: 0.2 us a call, some hundred calls for a
block of 512 atoms. Waiting for the one thread counts as the rest.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any
from unittest.mock import patch

Place = tuple[Any, str]
"""A module or class, and the name of a function in it."""


def measure_parts(call: Callable[[], Any], n_atoms: int, turns: int = 3) -> dict[str, float]:
    """Return the microseconds an atom of every part of a call, and of all as "together", of the fastest turn.

    Parameters
    ----------
    call : callable
        Classifies `n_atoms`.
    turns : int
        Timed calls; one more comes before.
    """
    from ovito_mace_phase.runtime.threads import n_threads, set_threads

    before = n_threads()
    set_threads(1)
    found: list[tuple[float, Counter[str]]] = []
    try:
        call()
        for _ in range(turns):
            clock = _Clock()
            started = time.perf_counter()
            with clock.watching(_parts()):
                call()
            found.append((time.perf_counter() - started, clock.seconds))
    finally:
        set_threads(before)
    whole, seconds = min(found, key=lambda one: one[0])
    per_atom = {name: 1e6 * spent / n_atoms for name, spent in seconds.most_common()}
    per_atom["rest"] = 1e6 * whole / n_atoms - sum(per_atom.values())
    return per_atom | {"together": 1e6 * whole / n_atoms}


class _Clock:
    """Adds up the time of functions, that of inner ones taken off."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self._inner = threading.local()

    @contextmanager
    def watching(self, parts: dict[str, Sequence[Place]]) -> Iterator[None]:
        """Replace the functions for a while."""
        with ExitStack() as stack:
            for name, places in parts.items():
                for owner, attribute in places:
                    stack.enter_context(patch.object(owner, attribute, self._timed(getattr(owner, attribute), name)))
            yield

    def _timed(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        @wraps(function)
        def timed(*arguments: Any, **named: Any) -> Any:
            stack = self._inner.__dict__.setdefault("stack", [])
            stack.append(0.0)
            started = time.perf_counter()
            try:
                return function(*arguments, **named)
            finally:
                spent = time.perf_counter() - started
                self.seconds[name] += spent - stack.pop()
                if stack:
                    stack[-1] += spent

        return timed


def _parts() -> dict[str, Sequence[Place]]:
    """Return the functions of every part."""
    from ovito_mace_phase.atoms import length_scale, network_frame
    from ovito_mace_phase.atoms.cell_grid import CellGrid
    from ovito_mace_phase.classification import classify, verified
    from ovito_mace_phase.classification.readout.kept_logits import LogitKeeper
    from ovito_mace_phase.model import phase_model
    from ovito_mace_phase.model.engine import sweep
    from ovito_mace_phase.model.network import layers
    from ovito_mace_phase.model.network.folded_head import FoldedHead
    from ovito_mace_phase.model.network.operations.numba_operations import NumbaOperations

    return {
        "length scale": [(phase_model, "measured")],
        "sorting into cells": [(length_scale, "make_grid"), (network_frame, "make_grid")],
        "edges": [(CellGrid, "pairs")],
        "species sums of layer 1": [(NumbaOperations, "species_sums")],
        "convolution": [(NumbaOperations, "convolve")],
        "linear layers of the messages": [(layers, "linear_messages")],
        "contraction and invariants": [(NumbaOperations, "contract_with_invariants")],
        "products, skips, calls of the layers": [(sweep, "first_layer"), (sweep, "later_layer")],
        "means over neighbours": [(NumbaOperations, "means")],
        "head, first matrix": [(FoldedHead, "_first")],
        "head, the rest": [(FoldedHead, "logits")],
        "best logits and their sums": [(LogitKeeper, "add")],
        "bonds": [(network_frame, "find_bonds")],
        "templates": [(verified, "match_frame"), (verified, "verdict_of")],
        "labels and confidence": [(classify, "result_of")],
    }
