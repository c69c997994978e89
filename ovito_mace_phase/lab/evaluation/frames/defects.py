"""Frames with one defect whose surroundings are known atom by atom.

Next to a point defect or a surface nothing is claimed; atoms beyond two neighbour shells of it are of the crystal. In
a faulted close-packed crystal every atom has its truth: HCP in a layer between unlike neighbour layers, else FCC; in
DHCP and 9R throughout that phase is right as well. No elastic relaxation, but that the atoms around an interstitial
are pushed apart to 0.9 of the neighbour distance.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.atoms.frame import Frame, make_frame
from ovito_mace_phase.atoms.neighbour_list import neighbour_list
from ovito_mace_phase.lab.crystals import SPACING, Float, close_packed, cubic, hexagonal_layers, lattice_constant
from ovito_mace_phase.lab.samples.disorder import push_apart

_TWO_SHELLS = {"FCC": ((1.0 + np.sqrt(1.5)) / 2, 18), "BCC": ((1.0 + np.sqrt(2.0)) / 2, 14)}
"""Half way between second and third shell (lattice constants), and atoms within."""


@dataclass(frozen=True, kw_only=True)
class DefectFrame:
    """A frame, the key every atom must get (empty where nothing is claimed), and what region it is reported with.

    `also` is right too, for every atom.
    """

    name: str
    frame: Frame
    truth: npt.NDArray[np.str_]
    region: npt.NDArray[np.str_]
    also: str = ""

    def rattled(self, sigma: float, rng: np.random.Generator) -> Frame:
        """Return the frame with white noise of `sigma` A per component."""
        moved = self.frame.positions + rng.normal(0.0, sigma, self.frame.positions.shape)
        return dataclasses.replace(self.frame, positions=moved)


def defect_frames(*, small: bool = False) -> Iterator[DefectFrame]:
    """Yield all frames; `small` makes them as small as they can be."""
    for phase, times in (("FCC", 4 if small else 5), ("BCC", 5 if small else 6)):
        for kind in ("vacancy", "divacancy", "dumbbell"):
            yield point_defect(phase, kind, times)
    repeat = (4, 2) if small else (5, 3)
    for name, steps in faults(10 if small else 24).items():
        yield faulted(name, steps, repeat)
    for phase, times in (("FCC", 4 if small else 5), ("BCC", 4 if small else 6)):
        yield slab(phase, (times, times, times + 1))
    yield particle("FCC", 9.0 if small else 13.0)


def point_defect(phase: str, kind: str, repeat: int) -> DefectFrame:
    """Return a block with a vacancy, a pair of nearest vacancies, or a dumbbell (<100> in fcc, <110> in bcc)."""
    positions, cell = cubic(phase, repeat)
    centre = np.diag(cell) / 2
    order = np.argsort(_distance(positions, positions[np.argmin(_distance(positions, centre, cell))], cell))
    sites = positions[order[:2] if kind == "divacancy" else order[:1]]
    positions = np.delete(positions, order[: len(sites)], axis=0)
    if kind == "dumbbell":
        axis = np.array([1.0, 0, 0]) if phase == "FCC" else np.array([1.0, 1.0, 0]) / np.sqrt(2.0)
        positions = np.concatenate([positions, sites + 0.4 * SPACING * axis, sites - 0.4 * SPACING * axis])
        positions = push_apart(positions, cell, 0.9 * SPACING)
    reach = _TWO_SHELLS[phase][0] * lattice_constant(phase)
    near = np.min([_distance(positions, site, cell) for site in sites], axis=0) < reach
    frame = make_frame(positions, None, cell, True)
    return _claimed(f"{kind} in {phase}", frame, phase, ~near)


def faults(n_layers: int) -> dict[str, list[float]]:
    """Return stackings: intrinsic and extrinsic fault and a twin of two halves in fcc, fault I1 in hcp, DHCP, 9R."""
    half = n_layers // 2
    return {
        "intrinsic fault in FCC": [1.0] * half + [2.0] + [1.0] * half,
        "extrinsic fault in FCC": [1.0] * half + [2.0, 2.0] + [1.0] * half,
        "twin in FCC": [1.0] * half + [2.0] * half,
        "fault I1 in HCP": [1.0, 2.0] * half + [1.0],
        "DHCP": [1.0, 2.0, 2.0, 1.0] * (n_layers // 4),
        "9R": [1.0, 2.0, 1.0] * (n_layers // 3),
    }


def faulted(name: str, steps: list[float], repeat: tuple[int, int]) -> DefectFrame:
    """Return a close-packed crystal of the given stacking."""
    positions, cell, layer = close_packed(steps, repeat)
    hexagonal = hexagonal_layers(steps)
    away = np.array([np.min(_around(np.flatnonzero(hexagonal) - k, len(steps))) for k in range(len(steps))])
    region = np.select([away == 0, away <= 2], ["hcp layers", "1-2 layers away"], "farther")
    return DefectFrame(
        name=name,
        frame=make_frame(positions, None, cell, True),
        truth=np.where(hexagonal, "HCP", "FCC")[layer],
        region=region[layer],
        also={"DHCP": "DHCP", "9R": "SAMARIUM_9R"}.get(name, ""),
    )


def slab(phase: str, repeat: tuple[int, int, int]) -> DefectFrame:
    """Return a (100) slab between vacuum."""
    positions, cell = cubic(phase, repeat)
    cell[2, 2] += 6 * SPACING
    frame = make_frame(positions, None, cell, [True, True, False])
    return _claimed(f"(100) slab of {phase}", frame, phase, _interior(frame, phase))


def particle(phase: str, radius: float) -> DefectFrame:
    """Return a sphere without a box."""
    positions, cell = cubic(phase, int(np.ceil(2 * radius / lattice_constant(phase))) + 1)
    inside = np.linalg.norm(positions - np.diag(cell) / 2, axis=1) < radius
    frame = make_frame(positions[inside], None, None, False)
    return _claimed(f"particle of {inside.sum()} atoms, {phase}", frame, phase, _interior(frame, phase))


def _claimed(name: str, frame: Frame, phase: str, sure: npt.NDArray[np.bool_]) -> DefectFrame:
    region = np.full(len(frame), "beyond two shells")
    return DefectFrame(name=name, frame=frame, truth=np.where(sure, phase, ""), region=region)


def _around(steps: npt.NDArray[np.int64], n_layers: int) -> npt.NDArray[np.int64]:
    """Return the number of layers apart, in a periodic stack."""
    return np.minimum(np.abs(steps), n_layers - np.abs(steps))


def _interior(frame: Frame, phase: str) -> npt.NDArray[np.bool_]:
    """Return which atoms have both shells complete."""
    reach, full = _TWO_SHELLS[phase]
    edges = neighbour_list(frame.positions, frame.cell, frame.pbc, reach * lattice_constant(phase))
    return np.diff(edges.offsets) == full


def _distance(positions: Float, point: Float, cell: Float) -> Float:
    vectors = positions - point
    return np.linalg.norm(vectors - np.round(vectors / np.diag(cell)) * np.diag(cell), axis=1)
