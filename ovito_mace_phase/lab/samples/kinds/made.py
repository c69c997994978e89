"""A frame of a kind with the label of every atom, and the rule of the first shell that labels at defects follow.

    shell of a     neighbours of a in the perfect crystal within SHELL of the distance to its nearest one
    incomplete     one of them is missing:  the atom is Other;     all others keep their phase

SHELL takes both shells of bcc (1.155), as common neighbour analysis does, and the first one alone of fcc and hcp
(next 1.414), simple cubic (1.414), diamond (1.63) and their compounds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.atoms.frame import Frame, make_frame
from ovito_mace_phase.atoms.neighbour_list import neighbour_list
from ovito_mace_phase.lab.crystals import Float, Int, grid

UNLABELLED = -1
"""Column of an atom for which no label is claimed."""
OTHER = 0
"""Column of Other."""
SHELL = 1.25
Bool = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Made:
    """A frame without noise.

    Attributes
    ----------
    name : str
        What was built, in words.
    frame : Frame
        Lengths in A; the cell always spans space, also where it is not periodic.
    label : (n_atoms,) int64
        Columns of the phases; OTHER, or UNLABELLED.
    still : bool
        Whether the atoms are at rest, so that noise added is a displacement; False for liquids and gases.
    """

    name: str
    frame: Frame
    label: Int
    still: bool = True


def made(
    name: str,
    positions: Float,
    species: npt.ArrayLike | None,
    cell: Float,
    label: npt.ArrayLike,
    *,
    pbc: bool | tuple[bool, bool, bool] = True,
    still: bool = True,
) -> Made:
    """Return a frame with its labels, (n_atoms,) columns or one for all."""
    columns = np.broadcast_to(np.asarray(label, dtype=np.int64), (len(positions),)).copy()
    return Made(name=name, frame=make_frame(positions, species, cell, pbc), label=columns, still=still)


def nearest_distances(positions: Float, cell: Float) -> Float:
    """Return the distance (n_atoms,) of every atom of a periodic crystal to its nearest one, A."""
    reach = 1.5 * (abs(np.linalg.det(cell)) / len(positions)) ** (1.0 / 3.0)
    while True:
        edges = neighbour_list(positions, cell, np.ones(3, dtype=bool), reach)
        if (np.diff(edges.offsets) > 0).all():
            break
        reach *= 1.4
    return np.minimum.reduceat(np.linalg.norm(edges.vectors, axis=1), edges.offsets[:-1])


def incomplete(positions: Float, cell: Float, kept: Bool) -> Bool:
    """Tell which atoms (n_atoms,) of a perfect periodic crystal lack a neighbour of their shell if some are `kept`."""
    nearest = nearest_distances(positions, cell)
    edges = neighbour_list(positions, cell, np.ones(3, dtype=bool), SHELL * float(nearest.max()) + 1e-6)
    centre = edges.centre
    own = np.linalg.norm(edges.vectors, axis=1) < SHELL * nearest[centre]
    lost = own & ~kept[edges.neighbour]
    return np.bincount(centre[lost], minlength=len(positions)) > 0


def cut_out(name: str, positions: Float, species: Int, cell: Float, kept: Bool, phase: int | Int) -> Made:
    """Return the atoms `kept` of a perfect periodic crystal, labelled by the rule of the first shell."""
    label = np.broadcast_to(np.asarray(phase, dtype=np.int64), (len(positions),))
    label = np.where(incomplete(positions, cell, kept), OTHER, label)
    return made(name, positions[kept], species[kept], cell, label[kept])


def holes(cell: Float, fractional: Float) -> list[tuple[float, Float]]:
    """Return the holes of a crystal, largest first: distance to the nearest atoms, A, and fractional places (n, 3).

    Holes are the vertices of the Voronoi cells; those alike within a thousandth of an A belong together.
    """
    from scipy.spatial import Voronoi

    around = (fractional[None] + (grid(np.array([5, 5, 5])) - 2.0)[:, None]).reshape(-1, 3)
    vertices = Voronoi(around @ cell).vertices @ np.linalg.inv(cell)
    inside = ((vertices > -1e-6) & (vertices < 1.0 - 1e-6)).all(axis=1)
    places = vertices[inside]
    atoms = around @ cell
    radius = np.array([np.linalg.norm(atoms - place @ cell, axis=1).min() for place in places])
    found: list[tuple[float, list[Float]]] = []
    for k in np.argsort(-radius, kind="stable"):
        if not found or found[-1][0] - radius[k] > 1e-3:
            found.append((float(radius[k]), []))
        group = found[-1][1]
        if all(np.linalg.norm((d := places[k] - other) @ cell - np.round(d) @ cell) > 1e-2 for other in group):
            group.append(places[k])
    return [(size, np.array(group)) for size, group in found]
