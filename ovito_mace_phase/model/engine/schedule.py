"""Order of the work on a frame cut into slabs: which slab goes through which layer when, and when it is forgotten.

Layer t of a slab needs layer t - 1 of the slabs around it (its atoms' neighbours); the last layer also the first layer
around it and all layers of its own atoms. The last layer walks from slab to slab; whatever it needs is made just
before, and forgotten when nothing needs it any more. So each layer is evaluated once for every atom, and only a few
slabs are held.

The backward pass of layer t of a slab comes when that of layer t + 1 is done around it, and forgets the slab.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

Step = tuple[Literal["forward", "last", "backward", "release"], int, int]
"""What, layer (0 is the first), slab."""


def schedule(
    n_slabs: int, n_layers: int, around: Callable[[int], Sequence[int]], *, backward: bool = False
) -> list[Step]:
    """Return the steps.

    Parameters
    ----------
    n_slabs, n_layers : int
    around : callable
        Slabs that hold neighbours of a slab, itself among them.
    backward : bool
        Whether gradients are wanted: then "last" stands for both passes of the last layer.
    """
    steps: list[Step] = []
    made: set[tuple[int, int]] = set()
    gone: set[tuple[int, int]] = set()
    back: set[tuple[int, int]] = set()
    last = n_layers - 1

    def make(t: int, slab: int) -> None:
        if t < 0 or (t, slab) in made:
            return
        for other in around(slab):
            make(t - 1, other)
        made.add((t, slab))
        steps.append(("forward", t, slab))

    def ready(t: int, slab: int) -> bool:
        """Whether layer t of the slab has no use left but, with gradients, its own backward pass."""
        users = around(slab)
        return all((t + 1, other) in back and (last, other) in back for other in users)

    for slab in range(n_slabs):
        for t in range(last):
            for other in around(slab) if t in (0, last - 1) else (slab,):
                make(t, other)
        steps.append(("last", last, slab))
        back.add((last, slab))
        for t in range(last - 1, -1, -1):
            for other in range(n_slabs):
                if (t, other) in made and (t, other) not in gone and ready(t, other):
                    if backward:
                        steps.append(("backward", t, other))
                    steps.append(("release", t, other))
                    back.add((t, other))
                    gone.add((t, other))
    return steps


def most_held(steps: Sequence[Step], t: int) -> int:
    """Return how many slabs of layer t are held at once."""
    held = most = 0
    for kind, layer, _ in steps:
        if layer == t and kind == "forward":
            held += 1
        elif layer == t and kind == "release":
            held -= 1
        most = max(most, held)
    return most
