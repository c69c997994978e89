"""What templates say of the atoms of a frame: the output that goes with verified labels.

    rmsd                   PTM's: rotation and scale alone, in units of the mean distance of the template's neighbours
    orientation            quaternion of Q, crystal -> frame, by the rotation of the crystal that makes it the least
    turn deformation gradient   F in the same setting times s, so without scale: F = Q in an unstrained crystal
    interatomic distance   d / s, the shortest distance of the fitted template

All are as OVITO's Polyhedral Template Matching defines them, for any phase. They are worked out when asked for.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from .kernels_output import least_turns
from .verdict import Verdict
from .verify import Part

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """Verified labels, and the fits that they rest on.

    Attributes
    ----------
    verdict : Verdict
    factor : float
        Network units per unit of the file.
    parts : tuple of Part
    """

    verdict: Verdict
    factor: float
    parts: tuple[Part, ...] = field(repr=False)

    @property
    def column(self) -> Int:
        """Place of the phase of each atom among those considered, -1 for Other."""
        return self.verdict.column

    @property
    def confidence(self) -> npt.NDArray[np.float32]:
        """Confidence of the label, (n_atoms,)."""
        return self.verdict.confidence

    @property
    def reason(self) -> npt.NDArray[np.int8]:
        """Why an atom is Other, (n_atoms,), see `verdict.Reason`."""
        return self.verdict.reason

    @cached_property
    def rmsd(self) -> Float:
        """(n_atoms,), NaN where nothing fits."""
        return self._gathered([part.fits.rmsd for part in self.parts], ())

    @cached_property
    def interatomic_distance(self) -> Float:
        """(n_atoms,), in the unit of the file, NaN where nothing fits."""
        found = []
        for part in self.parts:
            nearest = part.fits.proposals.library.nearest[part.fits.template]
            found.append(nearest / part.fits.scale / self.factor)
        return self._gathered(found, ())

    @cached_property
    def site(self) -> npt.NDArray[np.int32]:
        """(n_atoms,), -1 for Other and for atoms without a template."""
        found = [part.fits.proposals.library.site[part.fits.template].astype(np.float64) for part in self.parts]
        site = self._gathered(found, ())
        return np.where(np.isnan(site) | (self.column < 0), -1, site).astype(np.int32)

    @property
    def orientation(self) -> Float:
        """(n_atoms, 4), x, y, z, w; NaN where nothing fits."""
        return self._turned[0]

    @property
    def deformation_gradient(self) -> Float:
        """(n_atoms, 3, 3); NaN where nothing fits."""
        return self._turned[1]

    @cached_property
    def _turned(self) -> tuple[Float, Float]:
        quaternions, gradients = [], []
        for part in self.parts:
            fits = part.fits
            quaternion, gradient = np.full((len(fits.template), 4), np.nan), np.full((len(fits.template), 3, 3), np.nan)
            least_turns(fits.proposals.library, fits.template, fits.gradient, quaternion, gradient)
            quaternions.append(quaternion)
            gradients.append(gradient * fits.scale[:, None, None])
        return self._gathered(quaternions, (4,)), self._gathered(gradients, (3, 3))

    def _gathered(self, found: list[Float], shape: tuple[int, ...]) -> Float:
        """Return values of the parts as those of all atoms; the later part counts."""
        out = np.full((len(self.column), *shape), np.nan)
        for part, values in zip(self.parts, found, strict=True):
            fits = part.fits.template >= 0
            out[part.atoms[fits]] = values[fits]
        return out
