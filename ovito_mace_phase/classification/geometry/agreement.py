"""Matches of neighbours held against each other.

    support  share of the neighbours that are what the match of an atom says, turned as it is
    accord   the same of those neighbours that are matched at all: a surface takes nothing away
    misfit   deviation from the template under the mean F of the atom and those neighbours, see `compare`
    level    mean misfit around an atom, weights support^16, taken on over LEVEL_SWEEPS neighbours
    region   mean support around an atom, taken on over REGION_SWEEPS neighbours; accord is taken on likewise
    strain   deviatoric strain of the mean F of the atom and the neighbours that agree

The level is the thermal one of the crystal at that place; at its border it is that of its inside.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.runtime.threads import over_rows

from .kernels_agreement import compare, spread_level, spread_support
from .library import Library

Float = npt.NDArray[np.float64]
LEVEL_SWEEPS, REGION_SWEEPS = 4, 3
_ROWS = 2048


class Agreement(NamedTuple):
    """Support, misfit (9 where nothing fits), level (0 where none agrees), region, accord, strain, mean F, by atom."""

    support: Float
    misfit: Float
    level: Float
    region: Float
    accord: Float
    strain: Float
    gradient: Float


def agreement(
    library: Library,
    most_turn: float,
    template: npt.NDArray[np.int64],
    gradient: Float,
    values: Float,
    slots: npt.NDArray[np.int16],
    grain: npt.NDArray[np.int64],
    neighbour: npt.NDArray[np.int32],
) -> Agreement:
    """Hold the matches of a frame against each other; arrays as in `matching.Matches` and `Surroundings`."""
    n_atoms = len(template)
    support, accord, misfit, strain = np.zeros((4, n_atoms))
    mean = np.zeros((n_atoms, 3, 3))

    def hold(first: int, last: int) -> None:
        compare(
            library,
            most_turn,
            template,
            gradient,
            values,
            slots,
            grain,
            neighbour,
            first,
            last,
            support,
            accord,
            misfit,
            strain,
            mean,
        )

    over_rows(hold, n_atoms, _ROWS)
    weight, level = support**16, np.where(template >= 0, misfit, 0.0)
    for _ in range(LEVEL_SWEEPS):
        weight, level = _spread(library, template, slots, neighbour, weight, level)
    region = support
    for _ in range(REGION_SWEEPS):
        region = averaged(library, template, slots, neighbour, region)
        accord = averaged(library, template, slots, neighbour, accord)
    return Agreement(support, misfit, level, region, accord, strain, mean)


def averaged(
    library: Library,
    template: npt.NDArray[np.int64],
    slots: npt.NDArray[np.int16],
    neighbour: npt.NDArray[np.int32],
    value: Float,
) -> Float:
    """Return a value (n_atoms,) averaged over each atom and its neighbours matched in the same phase."""
    mean = np.zeros_like(value)
    over_rows(lambda a, b: spread_support(library, template, slots, neighbour, value, a, b, mean), len(value), _ROWS)
    return mean


def _spread(
    library: Library,
    template: npt.NDArray[np.int64],
    slots: npt.NDArray[np.int16],
    neighbour: npt.NDArray[np.int32],
    weight: Float,
    value: Float,
) -> tuple[Float, Float]:
    new_weight, new_value = np.zeros((2, len(weight)))
    over_rows(
        lambda a, b: spread_level(library, template, slots, neighbour, weight, value, a, b, new_weight, new_value),
        len(weight),
        _ROWS,
    )
    return new_weight, new_value
