"""Phases of the atoms of one frame: what `classify` returns and the modifier writes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.atoms.network_frame import NetworkFrame
from ovito_mace_phase.phases import Phase
from ovito_mace_phase.runtime.errors import InputError

from .geometry.geometry import Geometry
from .readout.distances import distances
from .readout.kept_logits import KeptLogits
from .readout.labels import OTHER_ID
from .settings import Settings

if TYPE_CHECKING:
    from .denoise import Denoised

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Value = TypeVar("Value", bound=np.generic)
_AUTO_FRACTION = 0.01
_AUTO_MOST = 8


@dataclass(frozen=True, kw_only=True)
class Looked:
    """What the network says of all atoms of a frame.

    Attributes
    ----------
    kept, evaluated : KeptLogits
        Of the phases that were considered, and before the choice.
    margin : (n_atoms,) float32
    """

    kept: KeptLogits
    evaluated: KeptLogits
    margin: Float32


@dataclass(frozen=True, kw_only=True, repr=False)
class PhaseResult:
    """Phases of the atoms of one frame.

    Attributes
    ----------
    phase : (n_atoms,) int32
        Phase ids of the table, 0 is Other.
    confidence : (n_atoms,) float32
        Calibrated probability of the label, 0 to 1.
    reason : (n_atoms,) int8
        Why an atom is Other, or has a phase that was not verified, see `geometry.verdict.Reason`; NONE (0) for other
        atoms, and for those too close to others to belong to a crystal.
    phases : tuple of Phase
        The phases that were considered.
    frame : NetworkFrame
        The atoms that were evaluated: the sites, where several atoms lie at the place of one (`frame.sites`).
    device : str
        What the network ran on, see `PhaseModel.device`.
    look : Looked, or callable that returns one
        The logits, or what evaluates them when they are asked for.
    settings : Settings
        Settings of the call.
    card : mapping
        The card of the model.
    geometry : Geometry or None
        What the templates say of the atoms; None where the labels were not verified.
    denoised : Denoised or None
        With denoising: the final positions, to which all of the above belong.
    before : PhaseResult or None
        With denoising: the result of the original frame.
    """

    phase: npt.NDArray[np.int32]
    confidence: Float32
    reason: npt.NDArray[np.int8]
    phases: tuple[Phase, ...]
    frame: NetworkFrame = field(repr=False)
    device: str = "cpu"
    look: Looked | Callable[[], Looked] = field(repr=False)
    settings: Settings = field(default_factory=Settings)
    card: Mapping[str, Any] = field(default_factory=dict)
    geometry: Geometry | None = None
    denoised: Denoised | None = None
    before: PhaseResult | None = None

    def __len__(self) -> int:
        return len(self.phase)

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"look": self._looked}  # a model does not travel with its results

    def __repr__(self) -> str:
        counts = ", ".join(f"{key} {number}" for key, number in self.counts().items())
        sure = f", mean confidence {float(self.confidence.mean()):.2f}" if len(self) else ""
        return f"<PhaseResult of {len(self)} atoms: {counts or 'none'}{sure}>"

    @property
    def sampled(self) -> bool:
        """Whether the network saw some of the atoms alone, so that logits are evaluated when they are asked for."""
        return not isinstance(self.look, Looked)

    @cached_property
    def _looked(self) -> Looked:
        return self.look if isinstance(self.look, Looked) else self.look()

    @property
    def margin(self) -> Float32:
        """Best minus second-best logit, (n_atoms,) float32."""
        return self._looked.margin

    @property
    def kept(self) -> KeptLogits:
        """The logits that were kept, of the phases that were considered; of the sites (`frame.sites`)."""
        return self._looked.kept

    @property
    def evaluated(self) -> KeptLogits:
        """The same before a choice of phases."""
        return self._looked.evaluated

    @property
    def logits(self) -> Float32:
        """All logits, (n_atoms, n_phases) float32, columns as in `phases`; raises InputError if not kept."""
        return self._of_all_atoms(self.kept.logits)

    @property
    def scores(self) -> KeptLogits:
        """Old name of `kept`."""
        warnings.warn("PhaseResult.scores is now PhaseResult.kept", FutureWarning, stacklevel=2)
        return self.kept

    @property
    def species(self) -> str:
        """Which types count as one species: "1,2 | 3" where 1 and 2 do."""
        sites = self.frame.sites
        return " | ".join(self.frame.frame.species_names) if sites is None else sites.species

    @property
    def merged(self) -> bool:
        """Whether types were found to be alike and merged (`species="auto"`)."""
        sites = self.frame.sites
        return sites is not None and sites.merged

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know: atoms that lie at the place of another."""
        sites = self.frame.sites
        return () if sites is None else sites.notes

    def counts(self) -> dict[str, int]:
        """Return key -> number of atoms of every phase that occurs, most frequent first."""
        ids, numbers = np.unique(self.phase, return_counts=True)
        key = {OTHER_ID: "OTHER"} | {phase.id: phase.key for phase in self.phases}
        order = np.argsort(-numbers, kind="stable")
        return {key[int(ids[k])]: int(numbers[k]) for k in order}

    def fractions(self) -> dict[str, float]:
        """Return key -> share of the atoms of every phase that occurs."""
        return {key: count / len(self.phase) for key, count in self.counts().items()}

    def order_parameter(self, key: str) -> Float32:
        """Return the logit of one phase, (n_atoms,) float32.

        In a frame whose logits were not all kept it is exact for the phases named in `order_parameters`; for others it
        is exact where the phase is among the eight best of an atom, and elsewhere the eighth logit, an upper bound.
        """
        return self._of_all_atoms(self.kept.column(key))

    def distance(self, key: str) -> Float32:
        """Return the rms displacement of each atom and its surroundings from the ideal crystal of a phase.

        (n_atoms,) float32, in the length unit of the frame; see `readout.distances`.

        Raises
        ------
        InputError
            When the model has no such calibration for the phase.
        """
        found = distances({key: self.order_parameter(key)}, self.card, self.frame.factor)
        if key not in found:
            raise InputError(f"the model was not calibrated for distances to {key}")
        return found[key]

    @cached_property
    def order_parameters(self) -> dict[str, Float32]:
        """Logits of the phases asked for by key, (n_atoms,) each; by default those of the frequent phases."""
        asked = self.settings.order_parameters
        keys = self.frequent_phases() if asked is None else asked
        return {key: self._of_all_atoms(self.evaluated.column(key)).copy() for key in keys}

    @cached_property
    def distances(self) -> dict[str, Float32]:
        """Distances to the phases of the order parameters by key, where they were asked for and are known."""
        if not self.settings.distances:
            return {}
        return distances(self.order_parameters, self.card, self.frame.factor)

    @property
    def rmsd(self) -> Float64:
        """Deviation from the template, (n_atoms,) float64, PTM's definition; NaN where none fits. See `geometry`."""
        return self._of_all_atoms(self._geometry().rmsd)

    @property
    def orientation(self) -> Float64:
        """Quaternions x, y, z, w from the crystal to the frame, (n_atoms, 4) float64; NaN where none fits."""
        return self._of_all_atoms(self._geometry().orientation)

    @property
    def deformation_gradient(self) -> Float64:
        """Elastic deformation gradient F, (n_atoms, 3, 3) float64, without scale; NaN where none fits."""
        return self._of_all_atoms(self._geometry().deformation_gradient)

    @property
    def interatomic_distance(self) -> Float64:
        """Shortest distance of the fitted template, (n_atoms,) float64, unit of the file; NaN where none fits."""
        return self._of_all_atoms(self._geometry().interatomic_distance)

    @property
    def site(self) -> npt.NDArray[np.int32]:
        """Symmetry-distinct site of the reference cell, (n_atoms,) int32; see `phases.site_names` for what it is.

        -1 for Other, unverified atoms, and those that have the phase around them without fitting it.
        """
        geometry = self._geometry()
        fitted = np.full(len(geometry.column), -1, dtype=np.int64)
        for part in geometry.parts:
            fits = part.fits.template >= 0
            fitted[part.atoms[fits]] = part.fits.column[fits]
        return self._spread(np.where(fitted == geometry.column, geometry.site, -1).astype(np.int32), -1)

    def _geometry(self) -> Geometry:
        if self.geometry is None:
            raise InputError("the labels were not verified (verify='off'); use verify='auto' for what templates say")
        return self.geometry

    def frequent_phases(self) -> tuple[str, ...]:
        """Return the keys of the phases of at least 1 % of the atoms, most frequent first, at most 8, without Other."""
        names = {phase.key for phase in self.phases if phase.id != OTHER_ID}
        enough = _AUTO_FRACTION * len(self.phase)
        return tuple(key for key, count in self.counts().items() if key in names and count >= enough)[:_AUTO_MOST]

    def _of_all_atoms(self, values: npt.NDArray[Value]) -> npt.NDArray[Value]:
        """Values of the sites on all atoms, NaN on those that have none."""
        return self._spread(values, np.nan)

    def _spread(self, values: npt.NDArray[Value], rest: float) -> npt.NDArray[Value]:
        sites = self.frame.sites
        return values if sites is None else sites.spread(values, rest)
