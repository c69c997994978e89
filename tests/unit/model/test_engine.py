"""The engine: equal to plain torch and to mace-torch, for any cut of the frame; invariances; many atoms; threads."""

from __future__ import annotations

import dataclasses
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from engine_tools import (
    LOGITS_FLOAT32,
    LOGITS_FLOAT64,
    SCORE,
    crystal,
    evaluator,
    logits_of,
    random_frame,
    shipped,
)
from our_threads import threads_at_work
from scipy.spatial.transform import Rotation

from ovito_mace_phase import classify
from ovito_mace_phase.atoms.neighbour_list import neighbour_list
from ovito_mace_phase.lab.features.features import features_of
from ovito_mace_phase.model.engine import forward as engine_run
from ovito_mace_phase.model.engine.evaluator import make_evaluator
from ovito_mace_phase.model.engine.gradient import log_density_gradient
from ovito_mace_phase.model.engine.sweep import cut
from ovito_mace_phase.model.reference.mace.stock_mace import MaceBackend
from ovito_mace_phase.model.reference.network import ReferenceNetwork
from ovito_mace_phase.model.registry import MODELS
from ovito_mace_phase.runtime.errors import CancelledError, InputError

FLOAT32 = 1e-4  # of the largest logit: what rounding leaves
PBC = [(True, True, True), (True, False, True), (False, False, False)]


@pytest.mark.parametrize("n_species", [1, 2, 4])
@pytest.mark.parametrize("pbc", PBC)
@pytest.mark.parametrize("plain_torch", [False, True])
def test_logits_and_score_equal_the_reference(rng, n_species, pbc, plain_torch):
    frame = random_frame(rng, n_species, pbc)
    wanted = frame.reference()
    used = evaluator(plain_torch=plain_torch)
    assert np.abs(logits_of(frame, used) - wanted.logits).max() < LOGITS_FLOAT32
    found = log_density_gradient(*frame.sorted(), used)
    assert np.abs(found.log_density - wanted.log_density).max() < LOGITS_FLOAT32
    assert np.abs(found.gradient - wanted.gradient).max() < SCORE * np.abs(wanted.gradient).max()


@pytest.mark.parametrize("n_species", [1, 3])
def test_in_float64_only_the_splines_differ(rng, n_species):
    frame = random_frame(rng, n_species)
    used = evaluator(torch.float64)
    wanted = frame.reference()
    found = log_density_gradient(*frame.sorted(), used)
    assert np.abs(found.log_density - wanted.log_density).max() < LOGITS_FLOAT64
    assert np.abs(found.gradient - wanted.gradient).max() < SCORE * np.abs(wanted.gradient).max()


@pytest.mark.parametrize("n_species", [1, 3])
def test_logits_equal_mace_torch(rng, n_species):
    frame = random_frame(rng, n_species)
    grid, slots = frame.sorted()
    wanted = np.empty((len(frame.positions), shipped()[2].config.n_phases))
    wanted[grid.order] = MaceBackend(*shipped(), dtype=torch.float64).logits(grid, slots)
    assert np.abs(logits_of(frame) - wanted).max() < LOGITS_FLOAT32


def test_score_is_the_gradient_of_what_is_evaluated(rng):
    frame = crystal(rng, (2, 2, 2), n_species=2)
    used = evaluator(torch.float64)
    direction, h = rng.normal(size=frame.positions.shape), 1e-5
    ends = [
        log_density_gradient(
            *dataclasses.replace(frame, positions=frame.positions + sign * h * direction).sorted(), used
        )
        for sign in (1, -1)
    ]
    slope = (ends[0].log_density.sum() - ends[1].log_density.sum()) / (2 * h)
    found = (log_density_gradient(*frame.sorted(), used).gradient * direction).sum()
    assert found == pytest.approx(slope, rel=1e-5, abs=1e-4)


@pytest.mark.parametrize("repeat", [(3, 2, 9), (2, 2, 2), (7, 3, 3)])
@pytest.mark.parametrize("pbc", PBC)
def test_any_cut_into_slabs_and_blocks_gives_the_same(rng, repeat, pbc):
    frame = dataclasses.replace(crystal(rng, repeat, n_species=int(rng.integers(1, 4))), pbc=np.array(pbc))
    whole, score_whole = logits_of(frame), log_density_gradient(*frame.sorted(), evaluator())
    for _ in range(3):
        size, budget = int(rng.integers(1, 300)), int(rng.integers(1, 2e6))
        print("block", size, "budget", budget)
        used = evaluator(block_size=size)
        np.testing.assert_allclose(logits_of(frame, used, memory=budget), whole, atol=3e-4)
        found = log_density_gradient(*frame.sorted(), used, memory=budget)
        np.testing.assert_allclose(found.gradient, score_whole.gradient, atol=2e-5 * np.abs(found.gradient).max())
    grid = frame.sorted()[0]
    assert len(cut(grid, evaluator(), 1)) >= np.count_nonzero(np.diff(grid.layers) > 1)  # as thin as can be
    assert len(cut(grid, evaluator(), 1 << 40)) == 1


def test_blocks_fill_the_threads(rng):
    slabs = cut(crystal(rng, (5, 5, 2)).sorted()[0], evaluator(), 1 << 40)  # 200 atoms
    for size, n_threads, count in [(512, 1, 1), (512, 2, 2), (60, 3, 6), (512, 100, 1), (1, 4, 200)]:
        blocks = slabs.blocks(0, size, 200, n_threads)
        assert len(blocks) == count
        assert [blocks[0][0], *(last for _, last in blocks)] == [*(first for first, _ in blocks), 200]
        sizes = [last - first for first, last in blocks]
        assert max(sizes) - min(sizes) <= 1
        assert max(sizes) <= size
    assert slabs.blocks(0, 512, 0, 4) == []


def test_three_layers_in_slabs(rng):
    """More layers than the shipped network has: the last one repeated."""
    tensors, config, _ = shipped()
    more = dict(tensors) | {
        name.replace("layers.1", "layers.2"): array for name, array in tensors.items() if "layers.1" in name
    }
    network = make_evaluator(more, dataclasses.replace(config, n_layers=3), None, dtype=torch.float64)
    # a head of its own: random numbers, the same for all cuts
    mixing = torch.from_numpy(rng.normal(size=(5 * 640, 4)))

    def log_density(parts, one):
        return torch.logsumexp(1e-3 * torch.cat([*parts, *parts[-1:][:one]], dim=1) @ mixing, 1)

    used = dataclasses.replace(network, head=SimpleNamespace(log_density=log_density))
    frame = crystal(rng, (2, 2, 8), n_species=2)
    whole = log_density_gradient(*frame.sorted(), used, memory="1G")
    cut_up = log_density_gradient(*frame.sorted(), dataclasses.replace(used, block_size=50), memory=1)
    np.testing.assert_allclose(cut_up.log_density, whole.log_density, rtol=1e-9)
    np.testing.assert_allclose(cut_up.gradient, whole.gradient, atol=1e-9 * np.abs(whole.gradient).max())


def test_rotation_translation_permutation_and_far_off(rng):
    frame = random_frame(rng, 3)
    plain, plain_score = logits_of(frame), log_density_gradient(*frame.sorted(), evaluator())
    turn = Rotation.random(rng=rng).as_matrix()
    order = rng.permutation(len(frame.slots))
    shift = rng.choice([-1e5, 1e5], 3)
    moved = dataclasses.replace(
        frame,
        positions=(frame.positions @ turn.T + shift)[order],
        cell=frame.cell @ turn.T,
        slots=frame.slots[order],
    )
    np.testing.assert_allclose(logits_of(moved), plain[order], atol=5e-4)
    turned = log_density_gradient(*moved.sorted(), evaluator()).gradient @ turn
    np.testing.assert_allclose(turned, plain_score.gradient[order], atol=SCORE * np.abs(turned).max())
    assert np.abs(plain_score.gradient.sum(axis=0)).max() < 1e-3 * np.abs(plain_score.gradient).max()


def test_seventy_thousand_atoms_equal_their_unit(rng):
    unit = crystal(rng, (2, 2, 2))
    repeat = np.array([13, 13, 13])
    corners = np.stack(np.meshgrid(*map(np.arange, repeat), indexing="ij"), axis=-1).reshape(-1, 1, 3)
    large = dataclasses.replace(
        unit,
        positions=(corners @ unit.cell + unit.positions).reshape(-1, 3),
        cell=unit.cell * repeat[:, None],
        slots=np.tile(unit.slots, len(corners)),
    )
    assert len(large.positions) > 70_000
    found = logits_of(large, memory="60M").reshape(len(corners), len(unit.positions), -1)
    np.testing.assert_allclose(found, np.broadcast_to(logits_of(unit), found.shape), atol=5e-4)


@pytest.mark.parametrize("shrink", [1, 3])
def test_every_element_of_a_large_table(rng, shrink):
    """Elements as slots, 89 of them with gaps as in MACE-MP-0, a random network."""
    from mace_oracle import small_mace

    from ovito_mace_phase.model.reference.mace.convert import convert_module

    elements = [*range(1, 84), *range(89, 95)]
    tensors, config = convert_module(small_mace(int(rng.integers(1 << 30)), elements=elements))
    tensors = {name: a.astype(np.float32) if a.dtype.kind == "f" else a for name, a in tensors.items()}
    used = make_evaluator(tensors, config, None)
    n_atoms = 89 // shrink
    cell = np.diag(rng.uniform(7, 9, 3)) + rng.uniform(-2, 2, (3, 3))
    positions = rng.uniform(0, 1, (n_atoms, 3)) @ cell
    slots = rng.permutation(89)[:n_atoms]
    edges = neighbour_list(positions, cell, np.ones(3, bool), config.r_max)
    output = ReferenceNetwork(tensors, config).forward(
        torch.tensor(positions), edges, torch.tensor(slots), torch.tensor(cell)
    )
    found = features_of(used, edges, slots)
    width = used.n_values
    for t, layer in enumerate(output.layers):
        wanted = torch.cat([layer.node_features, layer.message_invariants.flatten(1)], dim=1).numpy()
        wanted[:, 16:] = np.sqrt(wanted[:, 16:])
        part = found[:, t * width : (t + 1) * width]
        np.testing.assert_allclose(part, wanted, atol=1e-4 * np.abs(wanted).max())


def test_features_of_some_atoms(rng):
    frame = random_frame(rng, 2)
    edges = neighbour_list(frame.positions, frame.cell, frame.pbc, 6.0)
    network = make_evaluator(*shipped()[:2], None)
    whole = features_of(network, edges, frame.slots)
    some = rng.permutation(len(frame.slots))[:7]
    np.testing.assert_allclose(features_of(network, edges, frame.slots, some), whole[some], atol=1e-5)
    single = features_of(network, edges, np.zeros_like(frame.slots))
    assert single.shape == whole.shape
    np.testing.assert_array_equal(single[:, -640:], single[:, -1280:-640])


def test_isolated_atoms_and_no_atoms(rng):
    far = dataclasses.replace(
        random_frame(rng),
        positions=np.array([[0.0, 0, 0], [50, 0, 0]]),
        pbc=np.zeros(3, bool),
        slots=np.array([0, 1]),
    )
    found = log_density_gradient(*far.sorted(), evaluator())
    assert np.isfinite(found.log_density).all()
    assert not found.gradient.any()
    none = dataclasses.replace(far, positions=np.zeros((0, 3)), slots=np.zeros(0, dtype=np.int64))
    assert logits_of(none).shape == (0, 532)
    assert log_density_gradient(*none.sorted(), evaluator()).gradient.shape == (0, 3)


def test_progress_rises_to_one(rng):
    frame = crystal(rng, (3, 3, 6), n_species=2)
    for work in (
        lambda seen: logits_of(frame, evaluator(block_size=40), memory=1, progress=seen.append),
        lambda seen: log_density_gradient(*frame.sorted(), evaluator(block_size=40), memory=1, progress=seen.append),
    ):
        seen: list[float] = []
        work(seen)
        assert seen == sorted(seen)
        assert len(seen) > 10
        assert seen[-1] == pytest.approx(1.0)


@pytest.mark.parametrize("task", ["forward", "score"])
def test_cancel_in_mid_frame_leaves_nothing_running(rng, task):
    frame, used = crystal(rng, (5, 5, 5)), evaluator(block_size=20)
    asked = []

    def cancelled():
        asked.append(1)
        return len(asked) > 10

    tasks = {
        "forward": lambda: logits_of(frame, used, cancelled=cancelled),
        "score": lambda: log_density_gradient(*frame.sorted(), used, cancelled=cancelled),
    }
    with pytest.raises(CancelledError):
        tasks[task]()
    assert len(asked) < 20
    assert threads_at_work() == []


def test_two_threads_at_once(rng):
    frames = [random_frame(rng, n) for n in (1, 3)]
    wanted = [logits_of(frame) for frame in frames]
    found: list[list[np.ndarray]] = [[], []]

    def work(k):
        for _ in range(4):
            found[k].append(logits_of(frames[k], evaluator(block_size=5)))

    workers = [threading.Thread(target=work, args=(k,)) for k in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for k in range(2):
        assert len(found[k]) == 4
        for logits in found[k]:
            np.testing.assert_allclose(logits, wanted[k], atol=3e-4)


def test_out_of_memory_halves_the_blocks(rng, monkeypatch):
    frame = crystal(rng, (3, 3, 3))
    wanted = logits_of(frame)
    sizes = []

    class Tight:
        """Operations of a device that holds 30 atoms at once."""

        def __getattr__(self, name):
            return getattr(evaluator().operations, name)

        def of_thread(self):
            return self

        def contract_with_invariants(self, message, slots, polynomial):
            sizes.append(message.shape[1])
            if message.shape[1] > 30:
                raise torch.OutOfMemoryError("no room")
            return evaluator().operations.contract_with_invariants(message, slots, polynomial)

    tight = dataclasses.replace(evaluator(), operations=Tight())
    monkeypatch.setattr(engine_run, "_SMALLEST_BLOCK", 8)
    np.testing.assert_allclose(logits_of(frame, tight), wanted, atol=3e-4)
    assert max(sizes) > 30
    assert sizes[-1] <= 30
    monkeypatch.setattr(engine_run, "_SMALLEST_BLOCK", 64)
    with pytest.raises(InputError, match="no room for blocks"):
        logits_of(frame, tight)


def test_backend_mace_gives_the_same_answer(rng):
    frame = crystal(rng, (3, 3, 3))
    given = (frame.positions, None, frame.cell, True)
    for name in MODELS:
        ours, theirs = classify(*given, model=name), classify(*given, model=name, backend="mace")
        np.testing.assert_array_equal(ours.phase, theirs.phase)
        np.testing.assert_allclose(ours.logits, theirs.logits, atol=FLOAT32 * np.abs(theirs.logits).max())
    with pytest.raises(InputError, match="backend must be"):
        classify(*given, backend="tensorflow")
