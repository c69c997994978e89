"""Suite `nucleus`: a nucleus of 1 to 10 % in a hot crystal of another phase.

    found      = atoms of the nucleus with its label / atoms of the nucleus
    false      = atoms of the matrix, away from the nucleus, with the label of the nucleus / those atoms
    size       = largest connected cluster (bonds up to 1.3 d) of atoms with that label;   true size: atoms put there

A frame prior must not sweep away a small nucleus. A sphere of bcc lies in fcc of the same density, its rim pushed apart
to 0.8 d; nothing is claimed within one shell of the rim. A lamella of hcp layers lies in fcc, exact to the layer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.atoms.frame import Frame, make_frame
from ovito_mace_phase.atoms.neighbour_list import neighbour_list
from ovito_mace_phase.lab.crystals import SPACING, close_packed, cubic, hexagonal_layers, lattice_constant
from ovito_mace_phase.lab.evaluation.labels import Keys, columns, predict
from ovito_mace_phase.lab.evaluation.report import Report, SuiteSettings, Table
from ovito_mace_phase.lab.ovito_methods import ovito_answers
from ovito_mace_phase.lab.samples.disorder import push_apart
from ovito_mace_phase.model.phase_model import PhaseModel

NOISE = (0.04, 0.07)
"""Per component, in neighbour distances: the amplitude of copper at about 0.3 and 0.75 of melting."""
_METHODS = ("PTM 0.1", "PTM", "CNA")


@dataclass(frozen=True, kw_only=True)
class Nucleus:
    """A frame, the key of the nucleus, its atoms, and the atoms that are surely matrix and surely nucleus."""

    name: str
    frame: Frame
    phase: str
    member: npt.NDArray[np.bool_]
    core: npt.NDArray[np.bool_]
    matrix: npt.NDArray[np.bool_]


def run(model: PhaseModel, settings: SuiteSettings) -> Report:
    """Build the nuclei, heat them and look for them."""
    rng = np.random.default_rng(settings.seed)
    rows = []
    for nucleus in nuclei(small=settings.quick):
        for sigma in NOISE[:1] if settings.quick else NOISE:
            moved = nucleus.frame.positions + rng.normal(0.0, sigma * SPACING, nucleus.frame.positions.shape)
            rows += _rows(
                dataclasses.replace(nucleus, frame=dataclasses.replace(nucleus.frame, positions=moved)),
                sigma,
                model,
                settings,
            )
    return Report(
        title="Small nuclei",
        about="Atoms of the nucleus that get its label (found: the core, one shell inside the rim; all: every atom), "
        "atoms of the matrix that get it too (false), per cent; largest cluster of that label beside the atoms "
        "of the nucleus. White noise per component, in neighbour distances. PTM and CNA for comparison.",
        numbers={"rows": rows},
        tables=[
            Table(
                title="Nuclei",
                header=(
                    "nucleus",
                    "share",
                    "noise",
                    "method",
                    "found, core",
                    "found, all",
                    "false",
                    "cluster",
                    "true size",
                ),
                rows=[
                    (
                        *(row["nucleus"], row["share"], f"{row['sigma']:.2f}", row["method"], row["core"], row["all"]),
                        *(row["false"], row["cluster"], row["size"]),
                    )
                    for row in rows
                ],
            )
        ],
    )


def nuclei(*, small: bool = False) -> Iterator[Nucleus]:
    """Yield spheres of bcc of about 1, 3 and 10 %, and hcp lamellae of 2 and 4 layers, in fcc."""
    times = 6 if small else 11
    for share in (0.1,) if small else (0.01, 0.03, 0.1):
        yield sphere(times, share)
    for n_layers in (2,) if small else (2, 4):
        yield lamella(n_layers, 30 if small else 200, (3, 2) if small else (5, 3))


def sphere(repeat: int, share: float) -> Nucleus:
    """Return a bcc sphere with this share of the atoms in the middle of fcc."""
    positions, cell = cubic("FCC", repeat)
    middle = np.diag(cell) / 2
    radius = np.cbrt(3 * share * np.linalg.det(cell) / (4 * np.pi))
    spacing = SPACING * np.sqrt(3.0) / 2 * np.cbrt(lattice_constant("FCC", 1.0) ** 3 / 2)  # the density of fcc
    inner, edge = cubic("BCC", repeat, spacing)
    inner = inner - np.rint(np.diag(edge) / 2 / lattice_constant("BCC", spacing)) * lattice_constant("BCC", spacing)
    inner = inner[np.linalg.norm(inner, axis=1) < radius] + middle
    outer = positions[np.linalg.norm(positions - middle, axis=1) >= radius]
    member = np.arange(len(inner) + len(outer)) < len(inner)
    merged = _thinned(np.concatenate([inner, outer]), cell, member)
    member = member[merged]
    atoms = push_apart(np.concatenate([inner, outer])[merged], cell, 0.8 * SPACING)
    depth = radius - np.linalg.norm(atoms - middle, axis=1)
    return Nucleus(
        name="BCC sphere in FCC",
        frame=make_frame(atoms, None, cell, True),
        phase="BCC",
        member=member,
        core=member & (depth > SPACING),
        matrix=~member & (depth < -1.5 * SPACING),
    )


def lamella(n_hexagonal: int, n_layers: int, repeat: tuple[int, int]) -> Nucleus:
    """Return fcc with `n_hexagonal` adjacent hcp layers."""
    steps = [1.0] * n_layers
    for k in range(0, n_hexagonal - 1, 2):
        steps[n_layers // 2 + k] = 2.0
    positions, cell, layer = close_packed(steps, repeat)
    member = hexagonal_layers(steps)[layer]
    near = np.abs(layer - layer[member].mean()) < n_hexagonal / 2 + 1.5
    return Nucleus(
        name=f"HCP lamella of {n_hexagonal} layers in FCC",
        frame=make_frame(positions, None, cell, True),
        phase="HCP",
        member=member,
        core=member,
        matrix=~near,
    )


def largest_cluster(frame: Frame, chosen: npt.NDArray[np.bool_], reach: float) -> int:
    """Return the number of atoms in the largest connected cluster of the chosen atoms."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not chosen.any():
        return 0
    edges = neighbour_list(frame.positions[chosen], frame.cell, frame.pbc, reach)
    n_atoms = int(chosen.sum())
    graph = coo_array((np.ones(edges.n_edges), (edges.centre, edges.neighbour)), shape=(n_atoms, n_atoms))
    return int(np.bincount(connected_components(graph, directed=False)[1]).max())


def _thinned(
    positions: npt.NDArray[np.float64], cell: npt.NDArray[np.float64], first: npt.NDArray[np.bool_]
) -> npt.NDArray[np.bool_]:
    """Return which atoms stay: one that is not `first` and nearer than 0.7 d to one that is goes."""
    edges = neighbour_list(positions, cell, np.ones(3, dtype=bool), 0.7 * SPACING)
    clash = ~first[edges.centre] & first[edges.neighbour]
    return np.bincount(edges.centre[clash], minlength=len(positions)) == 0


def _rows(nucleus: Nucleus, sigma: float, model: PhaseModel, settings: SuiteSettings) -> list[dict]:
    ours = predict(nucleus.frame, model, denoise_steps=settings.denoise_steps)
    answers: dict[str, Keys] = {name: ours[name].keys for name in columns(settings.denoise_steps)}
    rows = []
    for method, keys in (answers | ovito_answers(nucleus.frame, _METHODS)).items():
        found = keys == nucleus.phase
        rows.append(
            {
                "nucleus": nucleus.name,
                "share": float(nucleus.member.mean()),
                "sigma": sigma,
                "method": method,
                "core": float(found[nucleus.core].mean()),
                "all": float(found[nucleus.member].mean()),
                "false": float(found[nucleus.matrix].mean()),
                "cluster": largest_cluster(nucleus.frame, found, 1.3 * SPACING),
                "size": int(nucleus.member.sum()),
            }
        )
    return rows
