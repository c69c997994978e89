"""Order of slabs and layers: everything is made before it is needed, once, and forgotten after its last use."""

from __future__ import annotations

import pytest

from ovito_mace_phase.model.engine.schedule import most_held, schedule


def ring(n):
    return lambda slab: sorted({(slab + d) % n for d in (-1, 0, 1)})


def chain(n):
    return lambda slab: [other for other in (slab - 1, slab, slab + 1) if 0 <= other < n]


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("n_layers", [2, 3, 4])
@pytest.mark.parametrize("n_slabs", [1, 2, 3, 4, 9])
@pytest.mark.parametrize("around", [ring, chain])
def test_order(around, n_slabs, n_layers, backward):
    near, last = around(n_slabs), n_layers - 1
    steps = schedule(n_slabs, n_layers, near, backward=backward)
    held, done = set(), []
    for step in steps:
        kind, t, slab = step
        assert step not in done
        if kind == "forward":
            assert t == 0 or all((t - 1, other) in held for other in near(slab))
            held.add((t, slab))
        elif kind == "last":
            assert all((0, other) in held and (last - 1, other) in held for other in near(slab))
            assert all((k, slab) in held for k in range(last))
        elif kind == "backward":
            above = "last" if t + 1 == last else "backward"
            assert all((above, t + 1, other) in done for other in near(slab))
            assert all(("last", last, other) in done for other in near(slab))
            assert t == 0 or all((t - 1, other) in held for other in near(slab))
            assert (t, slab) in held
        else:
            held.remove((t, slab))
        done.append(step)
    assert not held
    assert sum(kind == "forward" for kind, _, _ in steps) == n_slabs * last
    assert sum(kind == "last" for kind, _, _ in steps) == n_slabs
    assert sum(kind == "backward" for kind, _, _ in steps) == backward * n_slabs * last


def test_few_slabs_are_held():
    for backward in (False, True):
        assert most_held(schedule(50, 2, ring(50), backward=backward), 0) <= 5
        assert most_held(schedule(50, 2, chain(50), backward=backward), 0) <= 4
