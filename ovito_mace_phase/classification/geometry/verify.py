"""Labels of a frame, verified: the network proposes, a template verifies.

    proposals -> fits -> verdict          all phases but ices
    the same for the molecules' centres   ices and hydrates: hydrogen is disordered, and goes with the oxygen it is
    nearest

See `growth`, `agreement` and `verdict` for the rules.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.atoms.frame import Frame
from ovito_mace_phase.atoms.length_scale import TARGET_VOLUME
from ovito_mace_phase.atoms.network_frame import NetworkFrame
from ovito_mace_phase.phases import Phase
from ovito_mace_phase.phases.templates import kind_of
from ovito_mace_phase.runtime.watch import Watch

from .confidence import FitTrust
from .fits import Fits, fit_frame
from .proposals import Chosen, propose
from .verdict import Reason, Verdict, doubt, judge

Int = npt.NDArray[np.int64]
Float32 = npt.NDArray[np.float32]
Bool = npt.NDArray[np.bool_]
_MOLECULE = 0.55  # V^(1/3), the hydrogens counted: an oxygen has its two within, and no other atom
_FARTHEST = 0.7  # the same, from a hydrogen to the oxygen that it is nearest: half of the distance of two molecules


@dataclass(frozen=True, kw_only=True)
class Part:
    """Fits of some of the atoms of a frame.

    Attributes
    ----------
    atoms : (n,) int64
    fits : Fits
        Of these atoms, in this order.
    """

    atoms: Int
    fits: Fits

    @property
    def nbytes(self) -> int:
        """Memory taken, bytes."""
        return self.atoms.nbytes + self.fits.nbytes


def match_frame(
    frame: NetworkFrame,
    phases: tuple[Phase, ...],
    proposed: Int,
    claim: Float32,
    best: npt.NDArray[np.int16],
    *,
    chosen: Chosen = Chosen(),  # noqa: B008 - frozen
    watch: Watch | None = None,
    guessed: bool = False,
    shells_kept: bool = False,
) -> tuple[Part, ...]:
    """Fit templates to the atoms of a frame.

    Parameters
    ----------
    frame : NetworkFrame
    phases : tuple of Phase
        The phases considered.
    proposed : (n_atoms,) int64
        Place of the label of each atom before densities count, -1 for Other.
    claim : (n_atoms,) float32
        Confidence in that label, 0 where the density is too low for it: such atoms are no seeds.
    best : (n_atoms, n_best) int16
        Places of the largest logits.
    chosen : Chosen
    watch : Watch, optional
    guessed, shells_kept : bool
        As in `growth.grow` and `fits.fit_frame`.

    Returns
    -------
    tuple of Part
        Of all atoms, and of the centres of molecules.
    """
    is_net = _nets(phases)
    parts = []
    ordinary = np.where(is_net[proposed], -1, proposed)
    if (ordinary >= 0).any() and (found := propose(phases, ordinary, best, chosen=chosen)) is not None:
        seeds = np.where(ordinary >= 0, claim, np.float32(0.0))
        fits = fit_frame(frame, found, seeds, watch=watch, guessed=guessed, shells_kept=shells_kept)
        parts.append(Part(atoms=np.arange(len(frame)), fits=fits))
    if is_net[proposed].any():
        atoms = _centres(frame, is_net[proposed])
        label = np.where(is_net[proposed[atoms]], proposed[atoms], -1)
        found = propose(phases, label, best[atoms], net=True, chosen=chosen)
        if found is not None:
            some, seeds = _some(frame, atoms), np.where(label >= 0, claim[atoms], np.float32(0.0))
            fits = fit_frame(some, found, seeds, watch=watch, guessed=guessed, shells_kept=shells_kept)
            parts.append(Part(atoms=atoms, fits=fits))
    return tuple(parts)


def verdict_of(
    frame: NetworkFrame,
    phases: tuple[Phase, ...],
    parts: tuple[Part, ...],
    proposed: Int,
    confidence: Float32,
    dense: Bool,
    rmsd_cutoff: float = 0.0,
    trust: FitTrust = FitTrust(),  # noqa: B008 - frozen
) -> Verdict:
    """Return the verified labels of a frame; parameters as in `match_frame` and `judge`."""
    without = np.array([kind_of(phase) == "none" for phase in phases] + [False])[proposed]
    kept = without & dense
    reason = np.where(kept, Reason.NO_TEMPLATE, np.where(dense, Reason.DEFECT, Reason.LOW_DENSITY))
    reason = np.where(proposed < 0, Reason.BACKGROUND, reason)
    column = np.where(kept, proposed, -1)
    sure = np.where(kept | (proposed < 0), confidence, doubt(confidence)).astype(np.float32)
    for part in parts:
        atoms = part.atoms
        found = judge(part.fits, proposed[atoms], confidence[atoms], dense[atoms], rmsd_cutoff, without[atoms], trust)
        if len(atoms) == len(frame) and not part.fits.proposals.templates[0].net:
            column, sure, reason = found.column, found.confidence, found.reason
            continue
        taken, place, lost = of_molecules(frame, phases, proposed, atoms)
        column[taken], sure[taken], reason[taken] = found.column[place], found.confidence[place], found.reason[place]
        column[lost], reason[lost] = -1, Reason.DEFECT
        sure[lost] = doubt(confidence[lost])
    return Verdict(column=column, confidence=sure, reason=reason.astype(np.int8))


def of_molecules(frame: NetworkFrame, phases: tuple[Phase, ...], proposed: Int, centres: Int) -> tuple[Bool, Int, Bool]:
    """Tell which atoms of ices go with which centre of a molecule.

    Parameters
    ----------
    frame, phases, proposed
        As in `match_frame`.
    centres : (n,) int64
        Atoms at the centre of a molecule.

    Returns
    -------
    taken : (n_atoms,) bool
        Atoms of an ice that go with a centre, which goes with itself.
    place : (n_taken,) int64
        Which of the centres.
    lost : (n_atoms,) bool
        Atoms of an ice without a centre close by.
    """
    mine = np.zeros(len(frame), dtype=bool)
    mine[centres] = True
    nets = _nets(phases)[proposed]
    number = np.full(len(frame), -1, dtype=np.int64)
    number[centres] = np.arange(len(centres))
    owner = _owners(frame, mine, nets & ~mine)
    owner[mine] = np.flatnonzero(mine)
    taken = nets & (owner >= 0)
    return taken, number[owner[taken]], nets & (owner < 0)


def frame_of(frame: NetworkFrame, part: Part) -> NetworkFrame:
    """Return the frame that the atoms of a part were matched in."""
    return _some(frame, part.atoms) if part.fits.proposals.templates[0].net else frame


def places_of(parts: tuple[Part, ...], n_atoms: int) -> tuple[Int, Bool]:
    """Return `shells` and `crowded` of all atoms of a frame, (n_atoms,) each; see `Fits`."""
    shells, crowded = np.zeros(n_atoms, dtype=np.int64), np.zeros(n_atoms, dtype=bool)
    for part in parts:
        shells[part.atoms] = np.maximum(shells[part.atoms], part.fits.shells)
        crowded[part.atoms] |= part.fits.crowded
    return shells, crowded


def _nets(phases: tuple[Phase, ...]) -> Bool:
    """Tell which phases are nets; False for -1 behind the last one."""
    return np.array([kind_of(phase) == "net" for phase in phases] + [False])


def _some(frame: NetworkFrame, atoms: Int) -> NetworkFrame:
    """Return the frame of some of the atoms, as one species."""
    given = frame.frame
    few = Frame(
        positions=given.positions[atoms],
        species=np.zeros(len(atoms), dtype=np.int64),
        species_names=("centres",),
        cell=given.cell,
        pbc=given.pbc,
    )
    return replace(frame, frame=few, slots=np.zeros(len(atoms), dtype=np.int64), _bonds=[])


def _centres(frame: NetworkFrame, asked: Bool) -> Int:
    """Return the atoms of the species that has the most atoms close by: oxygen has two hydrogens, these one oxygen."""
    species = frame.frame.species
    present = np.unique(species[asked])
    if len(present) == 1:
        return np.flatnonzero(species == present[0])
    grid = frame.grid(_MOLECULE * TARGET_VOLUME ** (1.0 / 3.0))
    offsets, _, _ = grid.pairs(0, len(grid))
    close = np.zeros(len(grid))
    close[grid.order] = np.diff(offsets)
    mean = [close[asked & (species == s)].mean() for s in present]
    return np.flatnonzero(species == present[int(np.argmax(mean))])


def _owners(frame: NetworkFrame, centre: Bool, asked: Bool) -> Int:
    """Return the nearest centre of each atom asked for, -1 for others and where there is none close by."""
    owner = np.full(len(frame), -1, dtype=np.int64)
    if not asked.any():
        return owner
    grid = frame.grid(_FARTHEST * TARGET_VOLUME ** (1.0 / 3.0))
    offsets, neighbour, vectors = grid.pairs(0, len(grid))
    one = grid.order[np.repeat(np.arange(len(grid)), np.diff(offsets))]
    other, distance = grid.order[neighbour], np.linalg.norm(vectors, axis=1)
    chosen = asked[one] & centre[other]
    one, other, distance = one[chosen], other[chosen], distance[chosen]
    order = np.argsort(-distance, kind="stable")
    owner[one[order]] = other[order]
    return owner
