"""Which types are interchangeable: at random on one set of sites, or marks of regions.

For two types A and B, all others told apart, three things are measured around the atoms (`surroundings`):

    e         sum |h_A - h_B| / mean of sum h        h: mean counts of neighbours by distance, A and B as one
    alpha[b]  cov(s, s') / x (1 - x)                 over the pairs of A and B atoms in distance bin b, s = 1 for B
    near      least alpha of all pairs nearer than 1.25 times the mean nearest neighbour, than 1.3 and 1.6 V^(1/3)

with x the share of B at the place (some sixty atoms of A and B). alpha is the Warren-Cowley parameter: 0 at random,
positive at all distances where types mark regions, of either sign in an ordered crystal. The types are alike

    at random  where e <= MOST_UNLIKE + SURE_UNLIKE e_0, e_0 being what chance alone gives, and there is no order
    as marks   where near >= LEAST_NEAR, A touches B, there is no order, and e of the atoms that touch (others as one, h
               of sum one: regions end at surfaces) is as small
    order      alpha < -z standard errors at some distance, rms alpha beyond chance, and chi^2 of all distances
               beyond chance as large as one row of ORDERS says, and LEAST_NEGATIVE of it negative; over the frame, at
               one place (AT_ONE_PLACE), or where the share of B around atoms is alike and their first shell is not
               mostly of their own (AT_ONE_SHARE): so a precipitate is found in a random and in a pure matrix

               also where the numbers of B around the atoms of one type are too even
    even       mean over EVEN_RADII of  sum (n_B - <n_B>)^2 / sum x (1 - x) n,    n of both and n_B of B within a radius

which is 1 at random, and in ordered crystals whose alpha is small at most MOST_EVEN (1 - EVEN_CHANCE / sqrt(N)), N the
atoms of A and B: of 1,015 held-out crystals of up to 1,500 atoms 7 had types merged without this, 2 have.

Pairs are joined, the most alike first, and looked at again as one. And all types of a frame are alike where near >=
LEAST_NEAR for each of them against all others: no crystal of the phase table exceeds 0.1 there, as in an ordered
crystal the nearest neighbours of some type are not mostly of its own. Two regions that differ by element alone (a film
on its substrate) count as marked as well: the phase of either is the same whether told apart or not. How often: of all
crystals of the phase table, white noise of 0, 0.045 and 0.09 of the neighbour distance, 2 of 3,759 ordered pairs were
merged; the rest is measured by the suite `interchangeable` of `ovito-mace-phase evaluate`.
Source: J. M. Cowley, Phys. Rev. 77 (1950) 669.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .frame import Frame
from .surroundings import Surroundings, surroundings

MOST_UNLIKE = 0.16
"""e of types on one set of sites; alloys whose atoms differ in size have up to 0.1."""
SURE_UNLIKE = 1.5
ORDERS = ((3.8, 0.12, 0.0), (2.4, 0.4, 0.0), (2.4, 0.05, 6.0))
"""Over the frame: sure; strong in a small frame; weak, of precipitates, but plain when all distances are taken."""
AT_ONE_PLACE = ((5.0, 0.35, 0.0), (3.0, 0.25, 8.0))
AT_ONE_SHARE = ((4.5, 0.25, 0.0), (3.5, 0.38, 0.0))
_SHARES = (0.06, 0.15, 0.4, 0.6, 0.85, 0.94)
"""Limits of the classes of x."""
LEAST_NEGATIVE = 0.3
EVEN_RADII = (13, 16, 19, 22)
"""Bins within which neighbours are counted."""
MOST_EVEN, EVEN_CHANCE = 0.6, 2.7
LEAST_NEAR = 0.3
_PLACE = 60  # atoms of A and B at one place
_FIRST_SHELL = 1.25  # its outer edge over the mean distance of the nearest neighbour
_NEAR = (13, 16)  # bins, to 1.3 and 1.6 V^(1/3)
_SMOOTH = (0.25, 0.5, 0.25)  # of neighbouring bins

Float = npt.NDArray[np.float64]
Float32 = npt.NDArray[np.float32]
Group = tuple[int, ...]
Groups = tuple[Group, ...]


@dataclass(frozen=True, kw_only=True)
class Likeness:
    """What is found for two types; see the head of this module.

    Attributes
    ----------
    unlike, chance : float
        e and e_0; infinite and 0 where there are no neighbours.
    shape, shape_chance : float
        The same of the atoms of A and B that touch, with all other types as one, and h of sum one.
    ordered : bool
        Whether there is order, over the frame or at one place.
    z, order, negative : float
        Over the frame: least alpha in standard errors, rms alpha beyond chance, rms share of it from negative alpha.
    near : float
    touch : bool
        Whether A and B are nearest neighbours somewhere.
    """

    unlike: float
    chance: float
    shape: float
    shape_chance: float
    ordered: bool
    z: float
    order: float
    negative: float
    near: float
    touch: bool

    @property
    def random(self) -> bool:
        """Whether they are at random on one set of sites."""
        return self.distance <= 1.0 and not self.ordered

    @property
    def marks(self) -> bool:
        """Whether they mark regions of one crystal."""
        same = self.shape <= MOST_UNLIKE + SURE_UNLIKE * self.shape_chance
        return same and self.touch and self.near >= LEAST_NEAR and not self.ordered

    @property
    def distance(self) -> float:
        """How large e is, relative to the most that it may be."""
        return self.unlike / (MOST_UNLIKE + SURE_UNLIKE * self.chance)


def interchangeable(frame: Frame) -> Groups:
    """Return the codes of the species of a frame in groups that are alike, every code once, ascending.

    Nothing is looked at where there are fewer than two species.
    """
    present = np.flatnonzero(np.bincount(frame.species, minlength=frame.n_species)).tolist()
    if len(present) < 2:
        return tuple((code,) for code in range(frame.n_species))
    around = surroundings(frame)
    seen = np.unique(around.species).tolist()
    groups = [tuple(seen)] if marks_alone(around) else joined([(code,) for code in seen], around)
    return tuple(sorted([*groups, *((code,) for code in range(frame.n_species) if code not in seen)]))


def joined(groups: list[Group], around: Surroundings) -> list[Group]:
    """Join pairs of groups of codes that are alike, the most alike first, and look again, until none are."""
    while len(groups) > 1:
        alike: list[tuple[float, Group, Group]] = []
        for i, one in enumerate(groups):
            for other in groups[i + 1 :]:
                found = likeness(around, groups, one, other)
                if found.random or found.marks:
                    alike.append((found.distance, one, other))
        if not alike:
            break
        left = set(groups)
        for _, one, other in sorted(alike):
            if one in left and other in left:
                left -= {one, other}
                left.add(tuple(sorted(one + other)))
        groups = sorted(left)
    return groups


def likeness(around: Surroundings, groups: list[Group], one: Group, other: Group) -> Likeness:
    """Compare two groups of codes, the others told apart as `groups` says."""
    second = np.isin(around.species, other)
    centres = np.flatnonzero(second | np.isin(around.species, one))
    second = second[centres]
    counts = around.counts[centres].astype(np.float32)
    firsts, seconds = counts[:, list(one)].sum(axis=1), counts[:, list(other)].sum(axis=1)
    both = firsts + seconds
    parts = [both, *(counts[:, list(group)].sum(axis=1) for group in groups if group not in (one, other))]
    rest = counts.sum(axis=1) - both
    unlike, chance = _unlike(np.stack(parts, axis=1), second)
    covariance, variance, error = _correlation(seconds, both, second)
    whole = _summary(*(of.sum(axis=0)[None] for of in (covariance, variance, error)))
    z, order, negative = (float(of[0]) for of in whole[:3])
    ordered = _is_order(whole, ORDERS).any() or _is_order(_summary(covariance, variance, error), AT_ONE_PLACE).any()
    ordered = ordered or evenness(seconds, both, second) <= MOST_EVEN * (1.0 - EVEN_CHANCE / np.sqrt(len(both)))
    shell = slice(_first_shell(both))
    touching = np.where(second, firsts[:, shell].any(axis=1), seconds[:, shell].any(axis=1))
    touch = bool((touching & second).any() and (touching & ~second).any())
    shape, shape_chance = float("inf"), 0.0
    if touch:
        shape, shape_chance = _unlike(np.stack([both, rest], axis=1)[touching], second[touching], of_sum_one=True)
    return Likeness(
        unlike=unlike,
        chance=chance,
        shape=shape,
        shape_chance=shape_chance,
        ordered=bool(ordered) or _ordered_at_one_share(seconds, both, second),
        z=z,
        order=order,
        negative=negative,
        near=_near(covariance, variance, both),
        touch=touch,
    )


def marks_alone(around: Surroundings) -> bool:
    """Whether every type has mostly neighbours of its own, so that no crystal here is made of several."""
    counts = around.counts.astype(np.float32)
    both = counts.sum(axis=1)
    for code in np.unique(around.species).tolist():
        covariance, variance, _ = _correlation(counts[:, code], both, around.species == code)
        if not _near(covariance, variance, both) >= LEAST_NEAR:
            return False
    return True


def _near(covariance: Float, variance: Float, both: Float32) -> float:
    """Return the least alpha of the pairs within three distances; minus infinity where there are none in one."""
    found = []
    for bins in (_first_shell(both), *_NEAR):
        spread = variance[:, :bins].sum()
        found.append(float(covariance[:, :bins].sum() / spread) if spread > 0 else -float("inf"))
    return min(found)


def _unlike(counts: Float32, second: npt.NDArray[np.bool_], *, of_sum_one: bool = False) -> tuple[float, float]:
    """Return e and e_0 for counts (n_centres, n_groups, N_BINS), A and B as the first group."""
    smooth = _SMOOTH[1] * counts
    smooth[..., 1:] += _SMOOTH[0] * counts[..., :-1]
    smooth[..., :-1] += _SMOOTH[2] * counts[..., 1:]
    parts = smooth[~second], smooth[second]
    number = [len(part) for part in parts]
    mean = [part.mean(axis=0, dtype=np.float64) for part in parts]
    within = [part.var(axis=0, dtype=np.float64) for part in parts]
    sums = [float(of.sum()) for of in mean]
    if min(sums) == 0.0:
        return float("inf"), 0.0
    total = sum(sums) / 2.0
    if of_sum_one:
        mean = [of * (total / own) for of, own in zip(mean, sums, strict=True)]
    pooled = (within[0] * number[0] + within[1] * number[1]) / max(1, sum(number) - 2)
    by_chance = np.sqrt(2.0 / np.pi * pooled * (1.0 / number[0] + 1.0 / number[1])).sum()
    return float(np.abs(mean[0] - mean[1]).sum()) / total, float(by_chance) / total


def _correlation(seconds: Float32, both: Float32, second: npt.NDArray[np.bool_]) -> tuple[Float, Float, Float]:
    """Return covariance, x (1 - x) and squared error of the covariance at random, summed over the pairs of each place.

    All (n_places, N_BINS), from the neighbours of B and of both (n_centres, N_BINS).
    """
    n_places = max(1, len(both) // _PLACE)
    return _correlation_within(seconds, both, second, np.minimum(np.arange(len(both)) // _PLACE, n_places - 1))


def _correlation_within(
    seconds: Float32, both: Float32, second: npt.NDArray[np.bool_], place: npt.NDArray[np.int64]
) -> tuple[Float, Float, Float]:
    """Return what `_correlation` does, for places (n_centres,) 0, 0, ..., 1, 1, ... that all have centres."""
    size = np.bincount(place)
    starts = np.cumsum(size) - size
    pairs = np.add.reduceat(both, starts, axis=0).astype(np.float64)
    share = np.bincount(place, weights=second) / size
    off = share[place].astype(np.float32)[:, None]
    covariance = np.add.reduceat((second[:, None] - off) * (seconds - off * both), starts, axis=0).astype(np.float64)
    product = (share * (1.0 - share))[:, None]
    if len(size) == 1:  # of n atoms with a fixed share two are not independent at random
        covariance += product * pairs / max(1, len(both) - 1)
    return covariance, product * pairs, 2.0 * product**2 * pairs


def _ordered_at_one_share(seconds: Float32, both: Float32, second: npt.NDArray[np.bool_]) -> bool:
    """Whether there is order among the atoms around which the share of B is alike."""
    number = np.digitize(seconds.sum(axis=1) / np.maximum(1.0, both.sum(axis=1)), _SHARES)
    order = np.argsort(number, kind="stable")
    _, place = np.unique(number[order], return_inverse=True)
    found = _correlation_within(seconds[order], both[order], second[order], place)
    first = slice(_first_shell(both))
    of_others = found[0][:, first].sum(axis=1) <= 0.0
    return bool((_is_order(_summary(*found), AT_ONE_SHARE) & of_others).any())


def evenness(seconds: Float32, both: Float32, second: npt.NDArray[np.bool_]) -> float:
    """Return `even`, see the head of this module; 1 where there are no neighbours."""
    share, found = float(second.mean()), []
    for bins in EVEN_RADII:
        of_second, of_both = seconds[:, :bins].sum(axis=1), both[:, :bins].sum(axis=1)
        by_chance = share * (1.0 - share) * float(of_both.sum())
        if by_chance == 0.0:
            continue
        square = 0.0
        for kind in (second, ~second):
            n = int(kind.sum())
            mine = float(of_second[kind].sum()) / max(1.0, float(of_both[kind].sum()))
            square += float(((of_second[kind] - mine * of_both[kind]) ** 2).sum()) * n / max(1, n - 1)
        found.append(square / by_chance)
    return float(np.mean(found)) if found else 1.0


Summary = tuple[Float, Float, Float, Float]
"""Of every place: least z, rms alpha beyond chance, rms share of it from negative alpha, chi^2 beyond chance."""


def _summary(covariance: Float, variance: Float, error: Float) -> Summary:
    """Sum up places (n_places, N_BINS)."""
    known = variance > 0
    some = np.where(known, variance, 1.0)
    alpha = np.where(known, covariance / some, 0.0)
    z = np.where(known, covariance / np.sqrt(np.where(known, error, 1.0)), 0.0)
    square, below = (variance * alpha**2).sum(axis=1), (variance * np.minimum(alpha, 0.0) ** 2).sum(axis=1)
    by_chance = np.where(known, error / some, 0.0).sum(axis=1)
    order = np.sqrt(np.maximum(square - by_chance, 0.0) / np.maximum(variance.sum(axis=1), 1e-12))
    n_known = np.maximum(known.sum(axis=1), 1)
    surplus = ((z**2).sum(axis=1) - n_known) / np.sqrt(2.0 * n_known)
    return z.min(axis=1), order, np.sqrt(below / np.maximum(square, 1e-12)), surplus


def _is_order(found: Summary, limits: Sequence[tuple[float, float, float]]) -> npt.NDArray[np.bool_]:
    """Return of every place whether it is beyond one of the limits of -z, rms alpha and chi^2."""
    z, order, negative, surplus = found
    beyond = [(z < -sure) & (order > least) & (surplus > plain) for sure, least, plain in limits]
    return np.any(beyond, axis=0) & (negative > LEAST_NEGATIVE)


def _first_shell(both: Float32) -> int:
    """Return the number of bins that hold the first shell of the atoms of A and B."""
    has = both.any(axis=1)
    nearest = (both[has] > 0).argmax(axis=1).mean() + 0.5 if has.any() else 0.0
    return int(np.ceil(_FIRST_SHELL * nearest))
