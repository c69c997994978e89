"""Neighbours of the sites of a crystal, nearest first, and how many of them make a template.

    |v_1| <= |v_2| <= ...,    N = the least n of MOST_FEW ... MOST_MANY with |v_(n+1)| >= GAP |v_n|

The gap keeps a template whole under strain and noise. Where the neighbours of all sites do not join the crystal in all
its directions, as in layers far apart, N goes on to the next gaps until they do. NumPy alone: no cell is large.
"""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]
MOST_FEW, MOST_MANY = 12, 26
"""Least and largest number of neighbours of a template."""
GAP = 1.06
_SAME = 1e-3  # relative difference of distances of one shell
_CLOSE = 1e-6


def neighbours(cell: Float, fractional: Float, n_most: int) -> tuple[Int, Int, Float]:
    """Return the `n_most` nearest neighbours of every atom of a crystal, and all as far as the last of them.

    Parameters
    ----------
    cell : (3, 3) float64
        Rows are lattice vectors.
    fractional : (n_atoms, 3) float64
    n_most : int

    Returns
    -------
    atom : (n_atoms, n) int64
        Atoms of the cell, nearest first; equal distances in the order of the atoms, then of their images.
    image : (n_atoms, n, 3) int64
        Lattice vectors to add.
    vectors : (n_atoms, n, 3) float64
        Neighbour minus centre.
    """
    n_atoms = len(fractional)
    volume = abs(np.linalg.det(cell))
    reach = 1.2 * (3.0 * (n_most + 1) / (4.0 * np.pi) * volume / n_atoms) ** (1.0 / 3.0)
    while True:
        spans = np.ceil(reach / (1.0 / np.linalg.norm(np.linalg.inv(cell), axis=0))).astype(int) + 1
        images = np.array(list(itertools.product(*(range(-s, s + 1) for s in spans))))
        shifts = images @ cell
        found = [_nearest(fractional, fractional[a], cell, images, shifts, reach) for a in range(n_atoms)]
        if min(len(atom) for atom, _, _ in found) >= n_most + 1:
            break
        reach *= 1.25
    atom = np.stack([entry[0][:n_most] for entry in found])
    image = np.stack([entry[1][:n_most] for entry in found])
    return atom, image, np.stack([entry[2][:n_most] for entry in found])


def shell_sizes(cell: Float, fractional: Float, site: Int, directions: int = 3) -> Int:
    """Return N of every atom of a crystal, (n_atoms,); atoms of one `site` have the same; 2 directions for a sheet."""
    atom, image, vectors = neighbours(cell, fractional, MOST_MANY + 8)
    distance = np.linalg.norm(vectors, axis=2)
    gaps = [_gaps(row, around, directions) for row, around in zip(distance, vectors, strict=True)]
    place = np.zeros(len(site), dtype=np.int64)
    while True:
        size = np.array([gap[min(int(k), len(gap) - 1)] for gap, k in zip(gaps, place, strict=True)])
        for one in np.unique(site):
            size[site == one] = size[site == one].max()
        if spans(atom, image, size, directions) or (place >= [len(gap) - 1 for gap in gaps]).all():
            return size
        place += 1


def spans(atom: Int, image: Int, size: Int, directions: int = 3) -> bool:
    """Tell whether the neighbours join every atom of a crystal to its images in so many independent directions."""
    position: dict[int, Int] = {0: np.zeros(3, dtype=np.int64)}
    loops: list[Int] = []
    stack = [0]
    while stack:
        centre = stack.pop()
        for k in range(size[centre]):
            other, there = int(atom[centre, k]), position[centre] + image[centre, k]
            if other not in position:
                position[other] = there
                stack.append(other)
            elif (position[other] != there).any():
                loops.append(there - position[other])
    return len(position) == len(atom) and bool(loops) and int(np.linalg.matrix_rank(np.array(loops))) >= directions


def _nearest(
    fractional: Float, centre: Float, cell: Float, images: Int, shifts: Float, reach: float
) -> tuple[Int, Int, Float]:
    vectors = ((fractional - centre) @ cell)[:, None] + shifts[None]
    distance = np.linalg.norm(vectors, axis=2)
    atom, image = np.nonzero((distance < reach) & (distance > _CLOSE))
    order = np.lexsort((image, atom, np.round(distance[atom, image] / (_SAME * reach))))
    atom, image = atom[order], image[order]
    return atom, images[image], vectors[atom, image]


def _gaps(distance: Float, vectors: Float, directions: int) -> list[int]:
    """Return the sizes at which a gap of the distances lies, smallest first; the widest alone where none is wide.

    Where all of these would cut one shell, as in Hg4Pt (8 neighbours, then 24 at one distance), the largest below. The
    vectors must span so many directions: a layer is no template of a crystal.
    """
    sizes = np.arange(MOST_FEW, min(MOST_MANY, len(distance) - 1) + 1)
    solid = [n for n in sizes if np.linalg.matrix_rank(vectors[:n], tol=1e-3 * distance[0]) >= directions]
    sizes = np.array(solid if solid else sizes)
    ratio = distance[sizes] / distance[sizes - 1]
    wide = sizes[ratio >= GAP]
    if len(wide):
        return [int(n) for n in wide]
    fewer = np.arange(1, MOST_FEW)
    fewer = fewer[distance[fewer] >= GAP * distance[fewer - 1]]
    if ratio.max() < 1.0 + _SAME and len(fewer):
        return [int(fewer[-1])]
    return [int(sizes[np.argmax(ratio)])]
