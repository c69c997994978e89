"""The templates of some phases side by side, as flat arrays for compiled loops.

With v_k the vectors of one atom of a reference cell and v_0 = 0 the atom itself, k = 0 ... N,

    c = mean_k v_k,    A = sum_k (v_k - c)(v_k - c)^T,    a = mean_{k > 0} |v_k|,    d = min_{k > 0} |v_k|

Template atoms are numbered through all phases; a planar one has the normal of its plane added to A, so that it has an
inverse.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.atoms.length_scale import TARGET_VOLUME
from ovito_mace_phase.phases.templates import Template

from .kernels_nearest import MOST

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]
_SPARE = 4  # interstitials
_LEAST_CROWD = 26  # the twelfth neighbour in fcc near the melting point may be the 20th nearest atom
_SAME = 1e-3  # network units of L
_MORE_STARTS = 3
_PARALLEL = 0.94  # cosine up to which a second vector makes a good pair with the first


class Library(NamedTuple):
    """Templates, one after the other.

    Attributes
    ----------
    phase : (n,) int64
        Place of the template in the library that an atom belongs to.
    offsets : (n + 1,) int64
        Rows of the next two.
    neighbour : (n_rows,) int64
        Number of the neighbour among all atoms.
    vectors : (n_rows, 3) float64
        Network units.
    code, site : (n,) int64
        Species code and site.
    centre : (n, 3), spread, inverse : (n, 3, 3), square, length, nearest : (n,) float64
        c, A, A^-1, trace of A, a, d.
    second : (n,) int64
        Neighbour that makes a pair with the first one.
    starts : (n,) int64
        Neighbours that the first one is laid on: N + 1 - (images of the first one under rotations about the atom),
        so that one of them is right, and some more, since they are noisy.
    planar, sheet : (n,) bool
    normal : (n, 3) float64
        Of the plane of a planar one.
    n_codes : (n_phases,) int64
    seed_offsets : (n_phases + 1,) int64
    seeds : (n_seeds,) int64
    turn_offsets : (n_phases + 1,) int64
    turns : (n_turns, 3, 3) float64
        Rotations of the crystals.
    free : (n,) float64
        Distance within which an atom that is not matched is one too many.
    simple : (n_phases,) bool
        Lattices that PTM knows too, which the shell of one atom tells.
    crowd : int
        Neighbours to look at, so that those of every template are among them; at most `kernels_nearest.MOST`, four
        times what the phases of the table need.
    """

    phase: Int
    offsets: Int
    neighbour: Int
    vectors: Float
    code: Int
    site: Int
    centre: Float
    spread: Float
    inverse: Float
    square: Float
    length: Float
    nearest: Float
    second: Int
    starts: Int
    planar: npt.NDArray[np.bool_]
    sheet: npt.NDArray[np.bool_]
    normal: Float
    n_codes: Int
    seed_offsets: Int
    seeds: Int
    turn_offsets: Int
    turns: Float
    free: Float
    simple: npt.NDArray[np.bool_]
    crowd: int


def make_library(templates: Sequence[Template]) -> Library:
    """Return the templates as a library, in their order."""
    unit = TARGET_VOLUME ** (1.0 / 3.0)
    counts = np.array([len(t.site) for t in templates])
    first = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    sizes = np.concatenate([np.diff(t.offsets) for t in templates])
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    vectors = np.ascontiguousarray(np.concatenate([t.vectors for t in templates]) * unit)
    planar = np.repeat([t.planar for t in templates], counts)
    moments = [entry for found in templates for entry in _moments_of(found)]
    centre, spread, inverse, square, length, nearest, second, normal = (
        np.array([entry[part] for entry in moments]) for part in range(8)
    )
    seeds = [np.flatnonzero(t.seed) + start for t, start in zip(templates, first[:-1], strict=True)]
    return Library(
        phase=np.repeat(np.arange(len(templates)), counts),
        offsets=offsets,
        neighbour=np.concatenate([t.neighbour + start for t, start in zip(templates, first[:-1], strict=True)]),
        vectors=vectors,
        code=np.concatenate([t.species for t in templates]),
        site=np.concatenate([t.site for t in templates]),
        centre=centre,
        spread=spread,
        inverse=inverse,
        square=square,
        length=length,
        nearest=nearest,
        second=second.astype(np.int64),
        starts=np.concatenate([_starts_of(t) for t in templates]),
        planar=planar,
        sheet=np.repeat([t.sheet for t in templates], counts),
        normal=normal,
        n_codes=np.array([int(t.species.max()) + 1 for t in templates]),
        seed_offsets=np.concatenate([[0], np.cumsum([len(s) for s in seeds])]).astype(np.int64),
        seeds=np.concatenate(seeds).astype(np.int64),
        turn_offsets=np.concatenate([[0], np.cumsum([len(t.rotations) for t in templates])]).astype(np.int64),
        turns=np.ascontiguousarray(np.concatenate([t.rotations for t in templates])),
        free=np.concatenate([t.free for t in templates]) * unit,
        simple=np.array([t.simple for t in templates]),
        crowd=min(max(max(t.crowd for t in templates) + _SPARE, _LEAST_CROWD), MOST),
    )


@cache
def _moments_of(found: Template) -> list[tuple[Float, Float, Float, float, float, float, int, Float]]:
    vectors, ends = found.vectors * TARGET_VOLUME ** (1.0 / 3.0), found.offsets
    return [_moments(vectors[a:b], found.planar) for a, b in itertools.pairwise(ends)]


@cache
def _starts_of(found: Template) -> Int:
    starts = []
    for first, last in itertools.pairwise(found.offsets):
        vectors, code = found.vectors[first:last], found.species[found.neighbour[first:last]]
        turned = np.einsum("rij,kj->rki", found.rotations, vectors)
        apart = np.linalg.norm(turned[:, :, None] - vectors, axis=-1)
        apart[:, code[:, None] != code] = np.inf
        kept = (apart.min(axis=2) < _SAME).all(axis=1)
        images = np.unique(apart[kept, 0].argmin(axis=1))
        starts.append(last - first + 1 - len(images) + _MORE_STARTS)
    return np.array(starts, dtype=np.int64)


def _moments(vectors: Float, planar: bool) -> tuple[Float, Float, Float, float, float, float, int, Float]:
    length = np.linalg.norm(vectors, axis=1)
    points = np.concatenate([np.zeros((1, 3)), vectors])
    centre = points.mean(axis=0)
    spread = (points - centre).T @ (points - centre)
    normal = np.linalg.svd(points - centre)[2][2] if planar else np.zeros(3)
    inverse = np.linalg.inv(spread + np.trace(spread) / 2 * np.outer(normal, normal))
    cosine = abs(vectors @ vectors[0]) / (length * length[0])
    good = np.flatnonzero(cosine < _PARALLEL)
    second = int(good[0]) if len(good) else 1
    return centre, spread, inverse, float(np.trace(spread)), float(length.mean()), float(length.min()), second, normal
