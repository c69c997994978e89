"""A frame on a device against the same frame on the CPU: neighbours, lengths, logits, labels, score, denoising.

Under Triton's interpreter on frames of a few atoms, a line of a kernel taking a tenth of a millisecond; with a CUDA
device on larger ones too.
"""

from __future__ import annotations

import dataclasses
import pickle
import sys
import types
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import numpy as np
import pytest
import torch
from device_tools import DEVICE, HAS_CUDA, device_model, needs_cuda, needs_triton

from ovito_mace_phase.atoms.cell_grid import make_grid
from ovito_mace_phase.atoms.frame import make_frame
from ovito_mace_phase.classification.classify import classify
from ovito_mace_phase.classification.denoise import denoise
from ovito_mace_phase.classification.readout.frame_prior import frame_prior
from ovito_mace_phase.classification.readout.keep import keep_logits
from ovito_mace_phase.classification.readout.kept_logits import stride_of
from ovito_mace_phase.classification.readout.labels import label_atoms, label_weighted, prior_of_frame
from ovito_mace_phase.lab.benchmark.measure import thermal_frame
from ovito_mace_phase.model.network.operations.choose import operations
from ovito_mace_phase.model.network.operations.torch_operations import TorchOperations
from ovito_mace_phase.model.phase_model import PhaseModel
from ovito_mace_phase.runtime.errors import CancelledError
from ovito_mace_phase.runtime.held_array import HeldArray, tensor_of
from ovito_mace_phase.runtime.watch import Watch

LOGITS, SCORE, DENSITY = 1e-3, 5e-5, 2e-5  # logits run from -50 to 35; score relative to the largest
SKEW = np.array([[9.0, 0.0, 0.0], [3.0, 8.0, 0.0], [-2.0, 4.0, 11.0]])


@lru_cache
def models():
    cpu = PhaseModel.load(device="cpu")
    return cpu, device_model(cpu)


def loose(rng, shape, n_species, cell, pbc):
    """Atoms of several species on a lattice, shaken hard; all species occur."""
    corners = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1).reshape(-1, 3)
    fractional = (corners + 0.5 + 0.4 * (rng.random(corners.shape) - 0.5)) / np.array(shape)
    return make_frame(fractional @ cell, rng.permutation(len(corners)) % n_species, cell, pbc)


def listed(centre, end, vectors):
    """Edges in an order that does not depend on how they were found."""
    rows = np.column_stack([centre, end, vectors])
    return rows[np.lexsort(np.round(rows, 6).T[::-1])]


@needs_triton
@pytest.mark.parametrize(
    ("edge", "pbc"),
    [(5.0, (True, True, False)), (9.0, (False, False, False)), (13.0, (True, False, True))],
    ids=["small cell", "open", "large"],
)
def test_neighbours(edge, pbc, rng):
    """The edges of `cell_grid`, in cells smaller and larger than the cutoff, skewed, and from any atom on."""
    from ovito_mace_phase.model.engine.device.cells import device_grid, sums_of

    n_atoms, cutoff = 300 if HAS_CUDA else 4, 4.0
    cell, pbc = edge * (np.eye(3) + rng.uniform(-0.25, 0.25, (3, 3))), np.array(pbc)
    positions = rng.uniform(-0.5, 1.5, (n_atoms, 3)) @ cell
    grid = device_grid(torch.from_numpy(positions).to(DEVICE), cell, pbc, cutoff)
    first = int(rng.integers(0, n_atoms))
    offsets = sums_of(torch.roll(grid.counts(), -first))
    edges = grid.edges(first, offsets, int(offsets[-1]), torch.float64)
    order = grid.order.cpu().numpy()
    centre = np.repeat(np.roll(order, -first), np.diff(offsets.cpu().numpy()))
    found = listed(centre, order[edges.index.cpu().numpy()], edges.vectors.cpu().numpy())
    exact = make_grid(positions, cell, pbc, cutoff)
    offsets, index, vectors = exact.pairs(0, n_atoms)
    wanted = listed(np.repeat(exact.order, np.diff(offsets)), exact.order[index], vectors)
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max(initial=0.0) < 1e-9


def fake_grid(rng, n_layers, periodic, counts=None):
    """Layers of a few atoms, for `Cut` alone."""
    sizes = rng.integers(0, 5, n_layers)
    start = torch.from_numpy(np.concatenate([[0], np.cumsum(sizes)])).int()
    numbers = torch.from_numpy(rng.integers(0, 9, int(sizes.sum()))).int() if counts is None else counts
    return types.SimpleNamespace(
        counts=lambda: numbers,
        start=start,
        shape=np.array([n_layers, 1, 1]),
        reach=np.array([1, 1, 1]),
        periodic=np.array([periodic, True, True]),
    )


@needs_triton
@pytest.mark.parametrize("periodic", [True, False])
def test_slabs_cover_a_frame(periodic, rng):
    """Every atom is in one slab, and within the spans of a slab are all layers that it needs."""
    from ovito_mace_phase.model.engine.device.slabs import Cut

    n_layers = int(rng.integers(1, 30))
    grid, n_network = fake_grid(rng, n_layers, periodic), int(rng.integers(2, 4))
    counts = grid.counts()
    layer = np.repeat(np.arange(n_layers), np.diff(grid.start.numpy()))
    cut = Cut(grid, n_network, per_atom=10, per_edge=1, budget=int(rng.integers(1, 600)))
    seen = np.zeros(len(counts), dtype=int)
    for slab in cut.slabs:
        inner = np.arange(slab.inner.first, slab.inner.first + slab.inner.count)
        seen[inner] += 1
        for t, span in enumerate(slab.spans):
            atoms = np.arange(span.first, span.first + span.count) % max(1, span.ring)
            assert len(set(atoms)) == len(atoms)
            far = np.abs(layer[:, None] - layer[inner][None])
            far = np.minimum(far, n_layers - far) if periodic else far
            needed = np.flatnonzero((far <= n_network - 1 - t).any(axis=1)) if len(inner) else []
            assert set(needed) <= set(atoms)
            assert torch.equal(span.of(counts), counts[torch.from_numpy(atoms)])
        assert slab.n_edges == int(slab.spans[0].of(counts).sum())
    assert (seen == 1).all()


@needs_triton
def test_more_edges_than_32_bits(rng):
    """Their number is counted in 64 bits."""
    from ovito_mace_phase.model.engine.device.slabs import Cut

    grid = fake_grid(rng, 6, True)
    grid.start = torch.arange(0, 28, 4).int()
    numbers = torch.full((24,), 2**28, dtype=torch.int32)
    grid.counts = lambda: numbers
    assert Cut(grid, 2, per_atom=1, per_edge=1, budget=2**60).slabs[0].n_edges == 24 * 2**28


@needs_triton
def test_cancel(rng):
    """Between blocks, before anything is evaluated."""
    _, model = models()
    frame = loose(rng, (1, 1, 2), 1, np.diag([8.0, 8.0, 9.0]), False)
    here = dataclasses.replace(models()[0].network_frame(frame), factor=0.2)
    with pytest.raises(CancelledError):
        model.logits(here, watch=Watch(cancelled=lambda: True))


def test_slower_path_is_said(monkeypatch, caplog):
    """Where triton does not run CUDA is served by plain torch, with a warning."""
    package = operations.__module__.rpartition(".")[0]
    monkeypatch.setitem(sys.modules, f"{package}.triton_operations", None)
    assert isinstance(operations("cuda"), TorchOperations)
    assert "plain torch" in caplog.text


@needs_triton
@pytest.mark.slow
def test_same_as_cpu(monkeypatch, rng):
    """Lengths, carriers, logits, labels under all priors, scores that are kept, logP and score; in blocks and slabs."""
    from ovito_mace_phase.model.engine.device import run

    cpu, device = models()
    monkeypatch.setattr(run, "FORWARD_BLOCK", 5)
    monkeypatch.setattr(run, "GRADIENT_BLOCK", 5)
    frame = loose(rng, (7, 1, 1), 2, np.diag([16.0, 2.7, 2.7]), [True, False, False])
    check(cpu, device, frame, memory="1k", factor=30.0 / 16.0)  # four layers of cells


def check(cpu, device, frame, memory=None, factor=None):
    here, there = cpu.network_frame(frame), device.network_frame(frame)
    assert abs(there.factor / here.factor - 1.0) < 1e-12
    assert np.array_equal(here.slots, there.slots)
    if factor is not None:
        here, there = (dataclasses.replace(one, factor=factor, _bonds=[]) for one in (here, there))
    a = keep_logits(here, cpu, full=True)
    b = keep_logits(there, device, full=True, memory=memory)
    assert tensor_of(b.all_logits) is not None
    prior = prior_of_frame(b, 1.3)
    same_labels(*(label_weighted(kept, cpu.calibration, prior, 0.3) for kept in (a, b)))
    same_labels(*(label_atoms(kept, cpu.calibration, prior="local", threshold=0.3) for kept in (a, b)))
    assert tensor_of(b.all_logits) is not None  # none of this needs them on the host
    assert np.abs(a.logits - b.logits).max() < LOGITS
    assert np.abs(prior - frame_prior(b.logits[:: stride_of(len(frame))], 1.3)).max() < 1e-5
    assert np.abs(a.best - b.best).max() < LOGITS
    assert np.abs(a.log_density - b.log_density).max() < DENSITY
    assert np.abs(a.column("FCC") - b.column("FCC")).max() < LOGITS
    for one, two in zip(vars(here.bonds()).values(), vars(there.bonds()).values(), strict=True):
        assert len(one) == len(two)
    some = list(range(0, len(cpu.phases), 2))
    same_labels(*(label_atoms(kept.restricted(some, cpu.calibration.temperature), cpu.calibration) for kept in (a, b)))
    c, d = (
        keep_logits(one, m, full=False, considered=some, keys=("BCC",)) for one, m in ((here, cpu), (there, device))
    )
    assert np.abs(prior_of_frame(c, 1.3) - prior_of_frame(d, 1.3)).max() < 1e-4
    assert np.abs(c.best - d.best).max() < LOGITS
    assert np.abs(c.sample() - d.sample()).max() < LOGITS
    assert np.abs(c.column("BCC") - d.column("BCC")).max() < LOGITS
    assert d.nbytes == c.nbytes
    assert np.abs(device.logits(there, memory=memory) - b.logits).max() < LOGITS
    s, g = cpu.log_density_gradient(here), device.log_density_gradient(there, memory=memory)
    assert np.abs(s.log_density - g.log_density).max() < DENSITY
    assert np.abs(s.gradient - g.gradient).max() < SCORE * max(1e-3, np.abs(s.gradient).max())


def same_labels(one, two):
    assert np.array_equal(one.column, two.column)
    assert np.abs(one.confidence - two.confidence).max() < 1e-4
    assert np.abs(one.margin - two.margin).max() < 2 * LOGITS


@needs_triton
@pytest.mark.slow
def test_denoising_as_cpu(rng):
    """One step, some atoms held."""
    cpu, device = models()
    frame = loose(rng, (2, 1, 2), 2, np.diag([5.0, 2.6, 5.5]), [True, False, False])
    free = np.arange(len(frame)) != 1
    a, b = (denoise(frame, model, steps=1, movable=free) for model in (cpu, device))
    assert np.abs(a.displacement).max() > 1e-3
    assert np.abs(a.displacement - b.displacement).max() < 1e-5
    assert np.array_equal(b.displacement[1], np.zeros(3))


@needs_triton
@pytest.mark.slow
def test_a_fall_is_seen_beforehand(rng):
    """By logP alone, without its gradient; positions as given, or moved."""
    _, device = models()
    frame = loose(rng, (2, 1, 1), 1, np.diag([5.0, 2.6, 5.5]), False)
    here, n_atoms = device.network_frame(frame), len(frame)
    free = np.ones(n_atoms, dtype=bool)
    ascent = device.ascent(here, longest=0.4, nearby=4.5, error=np.zeros(n_atoms), free=free)
    place = ascent.moved(ascent.start, 0.1, torch.from_numpy(rng.normal(size=(n_atoms, 3))).to(DEVICE))
    height, _ = ascent.evaluate(place, Watch())
    assert ascent.falls(place, height + 1e-3, Watch())
    assert not ascent.falls(place, height - 1e-3, Watch())


def test_an_array_on_a_device_reads_like_one_on_the_host(rng):
    array = rng.normal(size=(7, 5)).astype(np.float32)
    held = HeldArray(torch.from_numpy(array.copy()).to(DEVICE))
    for key in (slice(None, None, 3), (slice(None), 2), (slice(None), np.int64(3)), (slice(None), np.array([4, 0, 1]))):
        assert np.array_equal(held[key], array[key])
    assert (len(held), held.shape, held.nbytes) == (7, (7, 5), array.nbytes)
    assert tensor_of(held) is not None
    assert np.array_equal(np.asarray(held), array)
    assert tensor_of(held) is None
    assert np.array_equal(held[1:3], array[1:3])
    assert np.array_equal(pickle.loads(pickle.dumps(held)), array)
    assert tensor_of(array) is tensor_of(None) is None


class TestCuda:
    """The frames of docs/tools/gpu_check.py and more, on a real device."""

    pytestmark = needs_cuda

    @pytest.mark.parametrize("name", ["cu", "nacl", "ice"])
    def test_crystals(self, name):
        check(*models(), thermal_frame(name, 1500))

    @pytest.mark.parametrize(
        ("shape", "n_species", "pbc"),
        [((4, 4, 4), 3, True), ((4, 4, 4), 2, False), ((5, 5, 5), 6, [True, False, True]), ((1, 1, 1), 1, True)],
    )
    def test_disorder(self, shape, n_species, pbc, rng):
        check(*models(), loose(rng, shape, n_species, SKEW * max(shape) / 4, pbc))

    def test_gas(self, rng):
        """Few neighbours, and atoms without any."""
        frame = loose(rng, (3, 4, 3), 1, np.diag([20.0, 27.0, 60.0]), [True, True, False])
        check(*models(), make_frame(frame.positions * [1, 1, 3], None, np.diag([20.0, 27.0, 180.0]), frame.pbc))

    def test_blocks_and_slabs(self, monkeypatch, rng):
        from ovito_mace_phase.model.engine.device import run

        frame, (_, model) = thermal_frame("nacl", 9000), models()
        whole, score = model.logits(frame), model.log_density_gradient(frame)
        monkeypatch.setattr(run, "FORWARD_BLOCK", int(rng.integers(100, 3000)))
        monkeypatch.setattr(run, "GRADIENT_BLOCK", int(rng.integers(100, 3000)))
        assert np.abs(model.logits(frame, memory="20M") - whole).max() < LOGITS
        again = model.log_density_gradient(frame, memory="100M")
        assert np.abs(again.gradient - score.gradient).max() < SCORE * np.abs(score.gradient).max()

    def test_denoising(self):
        frame = thermal_frame("cu", 1500)
        given = frame.positions, frame.species, frame.cell, frame.pbc
        a, b = (classify(*given, model=model, denoise_steps=8) for model in models())
        assert np.array_equal(a.phase, b.phase)
        assert np.abs(a.denoised.frame.positions - b.denoised.frame.positions).max() < 1e-5

    def test_two_threads(self):
        """Frames side by side give what they give one after the other."""
        frames, (_, model) = [thermal_frame(name, 1500) for name in ("cu", "nacl")], models()
        wanted = [model.logits(frame) for frame in frames]
        with ThreadPoolExecutor(2) as pool:
            for one, two in zip(pool.map(model.logits, frames), wanted, strict=True):
                assert np.abs(one - two).max() < LOGITS

    def test_out_of_memory(self, monkeypatch):
        from ovito_mace_phase.model.engine.device.sweep import DeviceSweep

        frame, (_, model) = thermal_frame("cu", 3000), models()
        wanted, sizes, run = model.logits(frame), [], DeviceSweep.run

        def full_at_first(self, consume):
            sizes.append(self.evaluator.block_size)
            if len(sizes) < 3:
                raise torch.OutOfMemoryError("simulated")
            run(self, consume)

        monkeypatch.setattr(DeviceSweep, "run", full_at_first)
        assert np.abs(model.logits(frame) - wanted).max() < LOGITS
        assert sizes[0] == 2 * sizes[1] == 4 * sizes[2]
