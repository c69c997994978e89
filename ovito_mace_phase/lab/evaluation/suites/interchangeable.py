"""Suite `interchangeable`: types at random on one set of sites, or that mark regions, told from ordered ones.

found  = pairs of types that are alike and were merged / such pairs          aim 99.5 %, at least 97
merged = ordered pairs that were merged by mistake / ordered pairs           aim 0, at most 0.5 %

Nothing of the network is used. The limits of `atoms.interchangeable` were set with white noise, looking at all crystals
of the phase table once and at TUNED while they were set; HELD_OUT, correlated noise and the other kinds of frames came
afterwards, and of these the precipitates changed the limits of order.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from itertools import combinations

import numpy as np

from ovito_mace_phase.atoms.frame import Frame, make_frame
from ovito_mace_phase.atoms.interchangeable import interchangeable
from ovito_mace_phase.atoms.neighbour_list import neighbour_list
from ovito_mace_phase.lab.crystals import Float, Int, close_packed, cubic, dealt_out, repeated
from ovito_mace_phase.lab.evaluation.report import Report, SuiteSettings, Table
from ovito_mace_phase.lab.samples.noise import ThermalNoise
from ovito_mace_phase.model.phase_model import PhaseModel
from ovito_mace_phase.phases import phase_table

TUNED = (
    *("ROCKSALT", "ZINCBLENDE", "CSCL", "L1_2", "L1_0", "D0_19", "HEUSLER_L2_1", "PEROVSKITE", "SPINEL", "RUTILE"),
    *("WC", "MOSI2", "CHALCOPYRITE", "ILMENITE", "ALPHA_NAFEO2", "CAB6", "MAX_211", "LAVES_C15", "CO2SI", "NIAS"),
)
HELD_OUT = (
    *("WURTZITE", "FLUORITE", "L1_1", "D0_22", "D0_3", "HALF_HEUSLER", "DELAFOSSITE_3R", "KESTERITE", "DOLOMITE"),
    *("B22", "CRSI2", "NATL", "OLIVINE", "PYRITE", "CAC2", "LAVES_C14", "SIGMA", "ICE_IH", "K2NIF4", "CORUNDUM"),
)
HOTTEST = 0.09  # rms displacement per component over the distance of nearest neighbours, about 0.9 of melting
_DRAWS = 4  # of each compound
_BUILT = 40  # of each other kind
Case = tuple[Frame, tuple[int, ...]]
"""A frame, and for each of its types the number of the species it is."""


def run(model: PhaseModel, settings: SuiteSettings) -> Report:
    """Draw frames of every kind and compare the groups that are found with the right ones."""
    rng = np.random.default_rng(settings.seed)
    n_draws, n_keys, n_built = (1, 3, 2) if settings.quick else (_DRAWS, None, _BUILT)
    tuned, held_out = TUNED[:n_keys], HELD_OUT[:n_keys]
    kinds: dict[str, Iterator[Case]] = {
        "ordered, tuned on": _crystals(tuned, False, n_draws, rng),
        "ordered, held out": _crystals(held_out, False, n_draws, rng),
        "random, tuned on": _crystals(tuned, True, n_draws, rng),
        "random, held out": _crystals(held_out, True, n_draws, rng),
        "ordered, correlated noise": _crystals(held_out, False, n_draws, rng, correlated_noise=True),
        "random, correlated noise": _crystals(held_out, True, n_draws, rng, correlated_noise=True),
        **{name: _repeated(make, n_built, rng) for name, make in KINDS.items()},
    }
    rows = [_row(name, cases) for name, cases in kinds.items()]
    return Report(
        title="Interchangeable types",
        about=f'Pairs of types judged right by `species="auto"`. 100 to 4000 atoms, noise of 0 to {HOTTEST} of the '
        "neighbour distance, types of 1 to 50 % of their sites. Alike: pairs that are merged, of those that should be. "
        "Ordered: pairs that are merged by mistake.",
        numbers={"rows": rows},
        tables=[
            Table(
                title="By kind of frame",
                header=("frames", "number", "alike pairs", "found", "ordered pairs", "merged", "frames all right"),
                rows=[
                    (
                        *(row["kind"], row["n_frames"], row["n_alike"], row["found"]),
                        *(row["n_ordered"], row["merged"], row["right"]),
                    )
                    for row in rows
                ],
            )
        ],
    )


def _row(name: str, cases: Iterator[Case]) -> dict:
    alike, ordered, right, wrong = [], [], [], []
    for frame, species in cases:
        group_of = {code: k for k, group in enumerate(interchangeable(frame)) for code in group}
        verdicts = {(a, b): group_of[a] == group_of[b] for a, b in combinations(range(len(species)), 2)}
        alike += [one for (a, b), one in verdicts.items() if species[a] == species[b]]
        ordered += [one for (a, b), one in verdicts.items() if species[a] != species[b]]
        right.append(all(one == (species[a] == species[b]) for (a, b), one in verdicts.items()))
        wrong += [] if right[-1] else [f"{len(frame)} atoms, {np.bincount(frame.species).tolist()}"]
    return {
        "kind": name,
        "n_frames": len(right),
        "n_alike": len(alike),
        "found": float(np.mean(alike)) if alike else None,
        "n_ordered": len(ordered),
        "merged": float(np.mean(ordered)) if ordered else None,
        "right": float(np.mean(right)),
        "wrong": wrong,
    }


def _repeated(make: Callable[[np.random.Generator], Case], n_draws: int, rng: np.random.Generator) -> Iterator[Case]:
    for _ in range(n_draws):
        yield make(rng)


def _crystals(
    keys: tuple[str, ...], mixed: bool, n_draws: int, rng: np.random.Generator, *, correlated_noise: bool = False
) -> Iterator[Case]:
    """Yield crystals of the table, with one of their species as two or three types at random if `mixed`."""
    for key in keys:
        for _ in range(n_draws):
            frame = _crystal(key, rng, most=400 if correlated_noise else 4000)
            species = tuple(range(frame.n_species))
            if mixed:
                frame, species = _mixed(frame, rng)
            yield _shaken(frame, rng, correlated_noise=correlated_noise), species


def _crystal(key: str, rng: np.random.Generator, most: int = 4000) -> Frame:
    cell = phase_table().by_key(key).reference
    if cell is None:
        raise ValueError(f"{key} has no reference cell")
    n_atoms = float(np.exp(rng.uniform(np.log(100.0), np.log(most))))
    volume = abs(float(np.linalg.det(cell.cell))) / len(cell.species)
    return repeated(cell.cell, cell.fractional, cell.species, 0.85 * (n_atoms * volume) ** (1.0 / 3.0))


def _mixed(frame: Frame, rng: np.random.Generator) -> Case:
    """Make one species two or three types."""
    species, n = frame.species.copy(), frame.n_species
    owner = list(range(n))
    mixed = int(rng.integers(n))
    for new in range(n, n + int(rng.integers(1, 3))):
        atoms = np.flatnonzero(frame.species == mixed)
        share = float(np.exp(rng.uniform(np.log(0.01), np.log(0.5))))
        species[rng.choice(atoms, max(1, round(share * len(atoms))), replace=False)] = new
        owner.append(mixed)
    present = np.unique(species)
    names = tuple(str(code) for code in present)
    merged = dataclasses.replace(frame, species=np.searchsorted(present, species), species_names=names)
    return merged, tuple(owner[code] for code in present)


def _shaken(frame: Frame, rng: np.random.Generator, *, correlated_noise: bool = False, least: float = 0.0) -> Frame:
    sigma = float(rng.uniform(least, HOTTEST)) * _nearest(frame)
    if correlated_noise:
        moved = ThermalNoise(frame.positions, frame.cell).correlated(sigma, rng)
    else:
        moved = rng.normal(0.0, sigma, frame.positions.shape)
    return dataclasses.replace(frame, positions=frame.positions + moved)


def _nearest(frame: Frame) -> float:
    reach = 1.5 * float(np.ptp(frame.positions, axis=0).prod() / len(frame)) ** (1.0 / 3.0)
    return float(np.linalg.norm(neighbour_list(frame.positions, frame.cell, frame.pbc, reach).vectors, axis=1).min())


def _block(rng: np.random.Generator) -> tuple[Float, Float, Int]:
    """Return positions and cell of a block of fcc, and for each site whether it is the corner of its cubic cell."""
    a, b, c = rng.integers(5, 11, 3).tolist()
    positions, cell = cubic("FCC", (a, b, c))
    return positions, cell, (np.arange(len(positions)) % 4 == 0).astype(np.int64)


def _ball(positions: Float, cell: Float, share: float) -> np.ndarray:
    """Return which atoms lie in a ball around the middle that holds this share of them."""
    away = np.linalg.norm(positions - cell.sum(axis=0) / 2.0, axis=1)
    return away <= np.quantile(away, share)


def precipitate(rng: np.random.Generator) -> Case:
    """Return a ball of L1_2, 8 to 30 % of the atoms, in a pure or a random matrix of the same lattice."""
    positions, cell, corner = _block(rng)
    inside = _ball(positions, cell, float(rng.uniform(0.08, 0.3)))
    matrix = dealt_out(len(positions), (1.0, 0.0) if rng.random() < 0.5 else (0.8, 0.2), rng)
    return _shaken(make_frame(positions, np.where(inside, corner, matrix), cell, True), rng), (0, 1)


def partly_ordered(rng: np.random.Generator) -> Case:
    """Return L1_2 in which up to a tenth of the atoms are exchanged."""
    positions, cell, species = _block(rng)
    chosen = rng.choice(len(species), int(rng.uniform(0.02, 0.1) * len(species)), replace=False)
    species = species.copy()
    species[chosen] = species[rng.permutation(chosen)]
    return _shaken(make_frame(positions, species, cell, True), rng), (0, 1)


def clusters(rng: np.random.Generator) -> Case:
    """Return a ball of one element in another of the same lattice."""
    positions, cell, _ = _block(rng)
    inside = _ball(positions, cell, float(rng.uniform(0.05, 0.5)))
    return _shaken(make_frame(positions, inside.astype(int), cell, True), rng), (0, 0)


def grips(rng: np.random.Generator) -> Case:
    """Return a slab of fcc or hcp whose outer layers have types of their own, free at both ends."""
    steps = [1.0] * 12 if rng.random() < 0.5 else [1.0, 2.0] * 6
    positions, cell, layer = close_packed(steps, (6, 4))
    thick = int(rng.integers(2, 5))
    species = np.where(layer < thick, 1, np.where(layer >= len(steps) - thick, 2, 0))
    return _shaken(make_frame(positions, species, cell, [True, True, False]), rng), (0, 0, 0)


def twin_layers(rng: np.random.Generator) -> Case:
    """Return fcc with a twin two to four layers thick that has a type of its own."""
    thick = int(rng.integers(2, 5))
    steps = [1.0] * (10 - thick) + [2.0] * thick
    positions, cell, layer = close_packed(steps, (5, 3))
    return _shaken(make_frame(positions, (layer >= 10 - thick).astype(int), cell, True), rng), (0, 0)


def grains(rng: np.random.Generator) -> Case:
    """Return fcc in which the Voronoi cells of some points are types: all of one orientation."""
    positions, cell, _ = _block(rng)
    seeds = rng.random((int(rng.integers(3, 9)), 3)) @ cell
    species = np.linalg.norm(positions[:, None] - seeds[None], axis=2).argmin(axis=1)
    frame = make_frame(positions, species, cell, True)
    return _shaken(frame, rng), (0,) * frame.n_species


def unlike_sizes(rng: np.random.Generator) -> Case:
    """Return a random alloy on fcc whose neighbours stand off each other by up to 4 % more where atoms are large."""
    positions, cell, _ = _block(rng)
    species = dealt_out(len(positions), (0.7, 0.3), rng)
    edges = neighbour_list(positions, cell, np.ones(3, dtype=bool), 1.2 * 2.55)
    push = edges.vectors * (rng.uniform(0.0, 0.04) / 4.0 * (species[edges.centre] - 0.3))[:, None]
    moved = positions.copy()
    np.add.at(moved, edges.neighbour, push)
    return _shaken(make_frame(moved, species, cell, True), rng), (0, 0)


def many(rng: np.random.Generator) -> Case:
    """Return a random alloy of four to six elements on fcc or bcc."""
    positions, cell = cubic("FCC" if rng.random() < 0.5 else "BCC", int(rng.integers(5, 10)))
    n = int(rng.integers(4, 7))
    return _shaken(make_frame(positions, dealt_out(len(positions), (1.0 / n,) * n, rng), cell, True), rng), (0,) * n


KINDS: dict[str, Callable[[np.random.Generator], Case]] = {
    "random alloys of 4 to 6": many,
    "atoms of unlike size": unlike_sizes,
    "clusters of one lattice": clusters,
    "grips with free surfaces": grips,
    "layers of a twin": twin_layers,
    "grains of one lattice": grains,
    "L1_2 precipitate": precipitate,
    "L1_2, up to 10 % exchanged": partly_ordered,
}
