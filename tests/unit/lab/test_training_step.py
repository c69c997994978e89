"""One training step of the whole model against a double backward pass through the readable network."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from device_tools import needs_cuda
from engine_tools import crystal, random_frame, shipped
from torch import nn

from ovito_mace_phase.atoms.neighbour_list import neighbour_list, side_by_side
from ovito_mace_phase.lab.training.step import Batch, TrainableModel, share_out, training_step
from ovito_mace_phase.model.network.head import PhaseHead
from ovito_mace_phase.model.reference.network import ReferenceNetwork, edge_indices, edge_vectors
from ovito_mace_phase.runtime.threads import BlockPool

NOISE = 0.15
LABEL_WEIGHT = 0.7


def trainable(dtype, device="cpu"):
    tensors, config, head = shipped()
    own = PhaseHead(head.config)
    own.load_state_dict(head.state_dict())
    return TrainableModel(tensors, config, own.eval().requires_grad_(True), device, dtype=dtype)


def batch_of(frames, rng):
    """Frames side by side, every third atom without a label."""
    edges = side_by_side([neighbour_list(frame.positions, frame.cell, frame.pbc, 6.05) for frame in frames])
    n_atoms = edges.n_atoms
    label = rng.integers(0, 20, n_atoms)
    label[::3] = -1
    return Batch(
        edges=edges,
        slots=np.concatenate([frame.slots for frame in frames]),
        label=label,
        displacement=rng.normal(0, 0.1, (n_atoms, 3)),
        sample=np.repeat(np.arange(len(frames)), [len(frame.slots) for frame in frames]),
    )


def exact_gradients(frames, batch):
    """Loss and gradients by torch's second derivatives, float64, without the engine."""
    tensors, config, head = shipped()
    network = ReferenceNetwork({k: v for k, v in tensors.items() if not k.startswith("head.")}, config)
    for name, tensor in network.tensors.items():
        if "radial" not in name and "basis" not in name:
            tensor.requires_grad_()
    own = PhaseHead(head.config).double()
    own.load_state_dict(head.state_dict())
    own.eval()
    first, n_atoms = 0, len(batch.slots)
    score_loss = label_loss = torch.zeros((), dtype=torch.float64)
    for frame in frames:
        rows = slice(first, first + len(frame.slots))
        first = rows.stop
        r = torch.tensor(frame.positions, requires_grad=True)
        edges = neighbour_list(frame.positions, frame.cell, frame.pbc, config.r_max)
        kinds, cell = torch.from_numpy(frame.slots), torch.tensor(frame.cell)
        output = network.forward(r, edges, kinds, cell)
        layers = [torch.cat([one.node_features, one.message_invariants.flatten(1)], dim=1) for one in output.layers]
        vectors, (centre, neighbour) = edge_vectors(r, edges, cell), edge_indices(edges, r.device)
        weight = (1 - vectors.square().sum(1) / config.r_max**2).clamp_min(0) ** 3
        for mask in (kinds[centre] == kinds[neighbour], torch.ones(len(centre), dtype=torch.bool)):
            part = (weight * mask)[:, None]
            total = layers[0].index_add(0, centre, part * layers[0][neighbour])
            layers.append(total / torch.ones(len(kinds), 1, dtype=torch.float64).index_add(0, centre, part))
        powers = torch.arange(layers[0].shape[1]) >= 256
        floors = own.floor.reshape(len(layers), -1)
        raised = [x + floor for x, floor in zip(layers, floors, strict=True)]
        roots = [
            torch.where(powers, torch.where(y > 1e-18, y.clamp_min(1e-18).sqrt(), 0.0), x)
            for x, y in zip(layers, raised, strict=True)
        ]
        logits = own(torch.cat(roots, dim=1))
        (score,) = torch.autograd.grad(torch.logsumexp(logits, 1).sum(), r, create_graph=True)
        target = -torch.from_numpy(batch.displacement[rows]) / NOISE**2
        score_loss = score_loss + NOISE**2 / (3 * n_atoms) * (score - target).square().sum()
        label = torch.from_numpy(batch.label[rows])
        label_loss = label_loss + nn.functional.cross_entropy(logits, label, ignore_index=-1, reduction="sum")
    label_loss = label_loss / int((batch.label >= 0).sum())
    (score_loss + LABEL_WEIGHT * label_loss).backward()
    gradients = {k.replace(".", "_"): v.grad for k, v in network.tensors.items() if v.requires_grad}
    return (
        float(score_loss.detach()),
        float(label_loss.detach()),
        gradients,
        {k: v.grad for k, v in own.named_parameters()},
    )


@pytest.mark.parametrize(("dtype", "h", "tolerance"), [(torch.float64, 2e-4, 2e-3), (torch.float32, 2e-3, 1e-2)])
def test_gradient_equals_double_backward(rng, dtype, h, tolerance):
    frames = [crystal(rng, (2, 2, 2), n_species=2), random_frame(rng, 3)]
    batch = batch_of(frames, rng)
    score_loss, label_loss, by_network, by_head = exact_gradients(frames, batch)
    model = trainable(dtype)
    with BlockPool(2) as pool:
        found = training_step(model, batch, noise_scale=NOISE, label_weight=LABEL_WEIGHT, h=h, pool=pool)
    assert found.score_loss == pytest.approx(score_loss, rel=1e-3)
    assert found.label_loss == pytest.approx(label_loss, rel=1e-2)
    for mine, exact in ((dict(model.network.items()), by_network), (dict(model.head.named_parameters()), by_head)):
        assert set(mine) == set(exact)
        off = sum(float((mine[k].grad.double() - exact[k]).square().sum()) for k in exact)
        whole = sum(float(exact[k].square().sum()) for k in exact)
        assert off < tolerance**2 * whole


def test_threads_share_out_whole_samples_and_change_nothing(rng):
    # two species at most: a part with fewer than the batch could take the other way through the first layer
    frames = [random_frame(rng, 2) for _ in range(5)]
    frames = [dataclasses.replace(frame, slots=np.arange(len(frame.slots)) % 2) for frame in frames]
    batch = batch_of(frames, rng)
    parts = share_out(batch, 3)
    assert 1 < len(parts) <= 3
    np.testing.assert_array_equal(np.concatenate([part.sample for part in parts]), batch.sample)
    np.testing.assert_array_equal(np.concatenate([part.edges.vectors for part in parts]), batch.edges.vectors)
    assert all(part.edges.neighbour.max() < len(part.slots) for part in parts)
    gradients = []
    for count in (1, 3):
        model = trainable(torch.float64)
        with BlockPool(count) as pool:
            training_step(model, batch, noise_scale=NOISE, pool=pool)
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    assert (gradients[0] - gradients[1]).abs().max() < 1e-9 * gradients[0].abs().max()


def test_a_small_step_lowers_the_loss_by_what_the_gradient_says(rng):
    batch = batch_of([crystal(rng, (2, 2, 2), n_species=2)], rng)
    model = trainable(torch.float64)
    with BlockPool() as pool:
        before = training_step(model, batch, noise_scale=NOISE, h=1e-3, pool=pool)
        square = sum(float(p.grad.square().sum()) for p in model.parameters())
        step = 1e-4 * (before.score_loss + before.label_loss) / square
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= step * parameter.grad
        after = training_step(model, batch, noise_scale=NOISE, h=1e-3, pool=pool)
    fall = before.score_loss + before.label_loss - after.score_loss - after.label_loss
    assert fall == pytest.approx(step * square, rel=0.1)


class TestCuda:
    pytestmark = needs_cuda

    def test_gradients_as_on_the_cpu(self, rng):
        batch = batch_of([crystal(rng, 2, n_species) for n_species in (1, 2)], rng)
        found = []
        for device in ("cpu", "cuda"):
            model = trainable(torch.float64, device)
            with BlockPool(1) as pool:
                loss = training_step(model, batch, noise_scale=NOISE, pool=pool)
            found.append((loss, {name: p.grad.cpu() for name, p in model.named_parameters() if p.grad is not None}))
        (one, a), (two, b) = found
        assert abs(one.score_loss / two.score_loss - 1) < 1e-9
        assert a.keys() == b.keys()
        for name, gradient in a.items():
            assert (gradient - b[name]).abs().max() <= 1e-6 * gradient.abs().max().clamp_min(1e-12), name
