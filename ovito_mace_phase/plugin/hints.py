"""Hints where a remedy is known, given only where the numbers of the frame call for it.

strain          S = |median over the fitted atoms of dev ln V|_max,   V: left stretch of F, in the axes of the frame,
                at least STRAINED, and most of them doubtful: noise and surfaces have no one direction; S is 0 where the
                median distance of dev ln V from its median is larger: nothing fits
interstitials   a type with at most FEW of the atoms, GUESTS of which are Other while most of the rest have a phase; of
                the rest at least ROBBED of those bonded to it are doubtful, TIMES as often as the others, and at most
                MELTED are Other: those around a solute in a melt or on a surface all are
molecules       MOSTLY of the atoms are Other, and IN_MOLECULES of all lie nearer than BOND_SHARE V^(1/3) to another, in
                clusters that all hold exactly one atom of some type, no farther from each other than DENSE bonds
sparse          a type that is Other (LOST), PART of the atoms, with a median volume of SPARSE times TARGET_VOLUME in
                units of the frame or more, and quartiles within EVEN: another crystal than the frame is measured by
doubtful        Other, or of a confidence below DOUBTED
at random       with species="by name": types that `atoms.interchangeable` finds alike
"""

from __future__ import annotations

import shlex

import numpy as np
from ovito.data import DataCollection

from ovito_mace_phase.atoms.close_atoms import groups_of, pairs_within
from ovito_mace_phase.atoms.frame import Frame
from ovito_mace_phase.atoms.interchangeable import interchangeable
from ovito_mace_phase.atoms.length_scale import TARGET_VOLUME, local_spacing, local_volume
from ovito_mace_phase.atoms.species import KEPT, is_automatic, merge_groups
from ovito_mace_phase.classification.readout.labels import OTHER_ID
from ovito_mace_phase.classification.result import PhaseResult

from .remedies import as_option, spelt, type_expression

STRAINED, DOUBTED = 0.05, 0.5
FEW, GUESTS, ROBBED, TIMES, MELTED = 0.25, 0.8, 0.3, 1.3, 0.7
MOSTLY, IN_MOLECULES, BOND_SHARE, DENSE = 0.5, 0.8, 0.55, 5.0
LOST, PART, SPARSE, EVEN = 0.8, 0.1, 1.25, 0.25
_LEAST = 3  # atoms of anything
_SOME = 0.05  # of the host, to compare with
_MOST_FITS = 5_000
_MOST_PAIRED = 200_000  # atoms among which molecules are looked for


def hints_of(data: DataCollection, result: PhaseResult) -> tuple[str, ...]:
    """Return the hints for a frame, a sentence each.

    Parameters
    ----------
    data : DataCollection
        For the names of types.
    result : PhaseResult
        Of its chosen atoms.
    """
    frame = result.frame
    given = frame.frame if frame.sites is None else frame.sites.given
    if len(result) < _LEAST:
        return ()
    found = [_strain(result), _by_name(data, given, result)]
    if given.n_species > 1 and data.particles.particle_types is not None:
        found += [_interstitials(data, given, result), _molecules(data, given, result), _sparse(data, given, result)]
    return tuple(filter(None, found))


def mean_strain(result: PhaseResult) -> tuple[float, float]:
    """Return S and the median confidence in the phase of the fitted atoms, 0 for Other; 0 and 1 where few are."""
    logs, confidences = [], []
    geometry = result.geometry
    if geometry is None:
        return 0.0, 1.0
    for part in geometry.parts:
        library, fits = part.fits.proposals.library, part.fits
        good = np.flatnonzero(fits.template >= 0)
        good = good[~library.planar[fits.template[good]]]
        good = good[:: max(1, len(good) // _MOST_FITS)]
        if len(good):
            values, axes = np.linalg.eigh(fits.gradient[good] @ np.swapaxes(fits.gradient[good], 1, 2))
            logs.append(np.einsum("nik,nk,njk->nij", axes, 0.5 * np.log(np.maximum(values, 1e-12)), axes))
            here = part.atoms[good]
            confidences.append(np.where(geometry.column[here] < 0, 0.0, geometry.confidence[here]))
    if sum(map(len, logs)) < max(_LEAST, 0.5 * min(len(result), _MOST_FITS)):
        return 0.0, 1.0
    log = np.concatenate(logs)
    log -= np.eye(3) * (np.trace(log, axis1=1, axis2=2) / 3.0)[:, None, None]
    middle = np.median(log, axis=0)
    strain = float(np.abs(np.linalg.eigvalsh(middle)).max())
    scatter = float(np.median(np.linalg.norm(log - middle, axis=(1, 2))))
    return strain if scatter <= strain else 0.0, float(np.median(np.concatenate(confidences)))


def _strain(result: PhaseResult) -> str:
    strain, confidence = mean_strain(result)
    if strain < STRAINED or confidence >= DOUBTED:
        return ""
    return (
        f"the crystal as a whole is strained by {100 * strain:.0f} % against its phase, near or beyond what is still "
        "called by it: undo the strain first (OVITO: Affine transformation to the cell at rest), or do not take these "
        "confidences for doubts about an unstrained crystal"
    )


def _by_name(data: DataCollection, given: Frame, result: PhaseResult) -> str:
    spec = (result.settings.species or "").strip().lower()
    if is_automatic(spec) or spec not in KEPT or given.n_species == 1:
        return ""
    merged = merge_groups(given, interchangeable(given))
    if merged.n_species == given.n_species:
        return ""
    names = " | ".join(merged.species_names)
    return (
        f"types are at random on one lattice or mark regions of it, {names}: take them as one with --species auto, or "
        f"--species {shlex.quote(spelt(data.particles, given, merged))}"
    )


def _interstitials(data: DataCollection, given: Frame, result: PhaseResult) -> str:
    other = result.phase == OTHER_ID
    count = np.bincount(given.species, minlength=given.n_species)
    of_other = np.bincount(given.species, weights=other, minlength=given.n_species)
    share = of_other / np.maximum(count, 1)
    guests = (count > 0) & (count <= FEW * len(given)) & (share >= GUESTS)
    host = ~guests[given.species]
    if not guests.any() or (count[guests].sum() < _LEAST) or not host.any() or other[host].mean() > 0.5:
        return ""
    bonds, sites = result.frame.bonds(), result.frame.sites
    own = np.arange(len(given)) if sites is None or sites.site is None else np.unique(sites.site, return_index=True)[1]
    if sites is not None and sites.site is not None:
        own = own[sites.site[own] >= 0]
    guest = ~host[own][bonds.order]
    beside = np.zeros(len(own), dtype=bool)
    centre = np.repeat(np.arange(len(own)), np.diff(bonds.offsets))
    beside[centre[guest[bonds.neighbour]]] = True
    mine = np.zeros(len(given), dtype=bool)
    mine[own[bonds.order]] = beside
    doubtful = other | (result.confidence < DOUBTED)
    near, far = host & mine, host & ~mine
    if doubtful[near].sum() < _LEAST or doubtful[near].mean() < ROBBED or other[near].mean() > MELTED:
        return ""
    if far.sum() > _SOME * host.sum() and doubtful[near].mean() < TIMES * doubtful[far].mean():
        return ""
    expression = type_expression(data.particles, [given.species_names[k] for k in np.flatnonzero(guests)], leave=True)
    if not expression:
        return ""
    names = ", ".join(given.species_names[k] for k in np.flatnonzero(guests))
    return (
        f"type {names} fits no site, and {100 * doubtful[near].mean():.0f} % of the atoms around it are Other or "
        f"doubtful: interstitials hide the crystal, which is seen without them: {as_option(expression)}"
    )


def _molecules(data: DataCollection, given: Frame, result: PhaseResult) -> str:
    if np.mean(result.phase == OTHER_ID) < MOSTLY or len(given) > _MOST_PAIRED:
        return ""
    reach = BOND_SHARE * TARGET_VOLUME ** (1.0 / 3.0) / result.frame.factor
    one, other, distance = pairs_within(given, reach)
    near = distance <= reach
    one, other, distance = one[near], other[near], distance[near]
    if len(np.unique(one)) < IN_MOLECULES * len(given):
        return ""
    _, cluster = np.unique(groups_of(len(given), one, other), return_inverse=True)
    bound = np.bincount(cluster)[cluster] > 1
    number = len(np.unique(cluster[bound]))
    for code in np.argsort(np.bincount(given.species), kind="stable").tolist():
        mine = cluster[(given.species == code) & bound]
        if len(mine) == number == len(np.unique(mine)):
            return _one_of_each(data, given, code, number, float(np.median(distance)))
    return ""


def _one_of_each(data: DataCollection, given: Frame, code: int, number: int, bond: float) -> str:
    volume = abs(float(np.linalg.det(given.cell)))
    if given.pbc.all() and volume / number > (DENSE * bond) ** 3:
        return ""  # a gas
    expression = type_expression(data.particles, [given.species_names[code]], leave=False)
    if not expression:
        return ""
    return (
        f"{number} molecules with one atom of type {given.species_names[code]} each, and most atoms are Other: the "
        f"crystal that the molecules form, if they do, is that of these atoms: {as_option(expression)}"
    )


def _sparse(data: DataCollection, given: Frame, result: PhaseResult) -> str:
    other, scaled = result.phase == OTHER_ID, result.settings.length_scale
    count = np.bincount(given.species, minlength=given.n_species)
    lost = np.bincount(given.species, weights=other, minlength=given.n_species) >= LOST * count
    lost &= count >= PART * len(given)
    if scaled or not lost.any() or len(given) > _MOST_PAIRED:
        return ""
    volume = local_volume(local_spacing(given, overlap=True))
    usual = TARGET_VOLUME / result.frame.factor**3
    for code in np.flatnonzero(lost).tolist():
        low, middle, high = np.quantile(volume[given.species == code], (0.25, 0.5, 0.75))
        if middle < SPARSE * usual or high - low > EVEN * middle:
            continue
        expression = type_expression(data.particles, [given.species_names[code]], leave=False)
        alone = f" {as_option(expression)}," if expression else ""
        return (
            f"atoms of type {given.species_names[code]} have {middle / usual:.1f} times the volume by which lengths of "
            f"this frame are measured, and are Other: a crystal of theirs is seen alone,{alone} or with "
            f"--length-scale {middle ** (1.0 / 3.0):.3g}"
        )
    return ""
