"""A new network learned from labels and a teacher: radial functions in training, stored samples, a short run."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from test_end_to_end import CONFIG, PHASES, head, source, tensors  # noqa: F401 - fixtures

from ovito_mace_phase.lab.features.sample_files import in_random_order, read_samples, write_samples
from ovito_mace_phase.lab.features.targets import N_BEST, Targets, Teacher
from ovito_mace_phase.lab.samples.source import SampleMix
from ovito_mace_phase.lab.training.distil import Distillation, DistilSettings, batch_of
from ovito_mace_phase.lab.training.new_network import NewShape, new_model, new_network, standardise
from ovito_mace_phase.lab.training.radial import N_KNOTS, trained_tables
from ovito_mace_phase.lab.training.step import Part, TrainableModel, training_step
from ovito_mace_phase.lab.training.target_loss import TargetWeights, target_loss
from ovito_mace_phase.model.engine.evaluator import make_evaluator
from ovito_mace_phase.model.network.layers import as_torch, leaves, with_leaves
from ovito_mace_phase.model.network.operations.torch_operations import TorchOperations
from ovito_mace_phase.model.network.radial_tables import hermite_table, radial_functions
from ovito_mace_phase.runtime.errors import InputError
from ovito_mace_phase.runtime.threads import BlockPool

SHAPE = NewShape(n_channels=8, l_max=2, r_max=4.5, n_layers=2, radial_hidden=(8,), n_hidden=16, n_density=8)
MIX = SampleMix(common_weight=1.0, background=0.1, dynamics=0.0, stackings=0.0, unlisted=0.0)


@pytest.fixture
def samples(source, rng):  # noqa: F811
    return [source.draw_any(MIX, rng) for _ in range(24)]


@pytest.fixture
def teacher(tensors, head):  # noqa: F811
    one = head.eval().requires_grad_(False)
    return Teacher(evaluator=make_evaluator(tensors, CONFIG, one), head=one, columns=np.arange(len(PHASES)))


@pytest.fixture
def paths(samples, teacher, tmp_path):
    half = len(samples) // 2
    for k, some in enumerate((samples[:half], samples[half:])):
        write_samples(tmp_path / f"samples_{k}.npz", some, 10**9, {"seed": str(k)}, teacher)
    return sorted(tmp_path.glob("samples_*.npz"))


def drawn_network(tensors, rng, shape=SHAPE):  # noqa: F811
    return new_network(shape, tensors, CONFIG, rng)


def test_tables_in_training_are_those_of_the_finished_model(tensors, rng):  # noqa: F811
    drawn, config = drawn_network(tensors, rng)
    tables = trained_tables(as_torch(drawn, "cpu", torch.float64), config)
    for t, spline in enumerate(tables.layers):
        radial = radial_functions(drawn, config, t)
        at = torch.linspace(0.2, 0.999, 50, dtype=torch.float64).numpy() * config.r_max
        position = spline.scale * at / (at + spline.stretch)
        knot = np.minimum(position.astype(int), N_KNOTS - 2)
        x = (position - knot)[:, None]
        v, y = spline.values.numpy(), 1 - x
        found = (1 + 2 * x) * y * y * v[knot, 0] + x * y * y * v[knot, 1]
        found += x * x * (3 - 2 * x) * v[knot + 1, 0] - x * x * y * v[knot + 1, 1]
        exact = radial(at)[0]
        assert np.abs(found - exact).max() < 1e-4 * np.abs(exact).max()
        assert hermite_table(radial, config.r_max).values.shape[2] == v.shape[2]


def test_gradients_by_the_radial_mlp(tensors, samples, rng):  # noqa: F811
    """Every parameter against plain torch, float64."""
    drawn, config = drawn_network(tensors, rng)
    shown = [(*one, None) for one in samples[:4]]
    batch = batch_of(shown, SHAPE.r_max)
    start = new_model(drawn, config, SHAPE, len(PHASES), batch)

    def gradients(ops):
        model = TrainableModel(drawn, config, start.head, dtype=torch.float64, radial=True)
        model.operations = model.operations if ops is None else ops
        with BlockPool() as pool:
            training_step(model, batch, noise_scale=0.15, score_weight=0.0, pool=pool)
        found = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
        model.zero_grad()
        return found

    fused, plain = gradients(None), gradients(TorchOperations())
    assert any("radial" in name for name in fused)
    for name, gradient in plain.items():
        torch.testing.assert_close(fused[name], gradient, rtol=1e-6, atol=1e-9 * float(gradient.abs().max() + 1))
        if "density" not in name:  # labels alone do not train the density
            assert gradient.abs().max() > 0, name


def test_a_new_network_is_scaled(tensors, samples, rng):  # noqa: F811
    drawn, config = drawn_network(tensors, rng)
    batch = batch_of([(*one, None) for one in samples], SHAPE.r_max)
    model = new_model(drawn, config, SHAPE, len(PHASES), batch)
    folded = model.fold()
    weights = with_leaves(folded, [leaf.detach() for leaf in leaves(folded)])
    part = Part(batch, model)
    with torch.no_grad():
        features = model.features(weights, part.graph, part.slots, part.present)
        standard = (features - model.head.mean) / model.head.scale
        assert standard.mean(0).abs().max() < 1e-2
        varied = features.std(0) > 2e-3
        assert (standard.std(0)[varied] - 1).abs().max() < 1e-2
        before = model.head(features)
        standardise(model, batch_of([(*one, None) for one in samples[:9]], SHAPE.r_max))
        torch.testing.assert_close(model.head(features), before, rtol=1e-3, atol=1e-3)


def test_files_keep_samples_and_answers(paths, samples, teacher):
    found = read_samples(paths[0], {"seed": "0"})
    assert len(found) == len(samples) // 2
    for k in (0, len(found) - 1):
        sample, label, targets = found.sample(k)
        wanted, wanted_label = samples[k]
        np.testing.assert_allclose(sample.frame.positions, wanted.frame.positions, atol=1e-5)
        np.testing.assert_allclose(sample.displacement, wanted.displacement, atol=1e-5)
        np.testing.assert_array_equal(sample.slots, wanted.slots)
        assert set(sample.label) == {wanted_label}
        assert label == wanted_label
        answer = teacher.targets([samples[k]])
        assert targets.phase.shape == (len(sample.slots), min(N_BEST, len(PHASES)))
        np.testing.assert_allclose(targets.density, answer.density, rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(targets.logit, answer.logit, rtol=2e-3, atol=2e-3)
    with pytest.raises(InputError, match="made with other seed"):
        read_samples(paths[0], {"seed": "7"})


def test_every_sample_is_shown_once(paths, samples, rng):
    shown = list(in_random_order(paths, 2, rng))
    sizes = sorted(len(sample.slots) for sample, _, _ in shown)
    assert sizes == sorted(len(sample.slots) for sample, _ in samples)
    assert [label for _, label, _ in shown] != [label for _, label in samples]


def test_a_wrong_teacher_counts_for_nothing(rng):
    logits = torch.from_numpy(rng.normal(size=(6, 9))).requires_grad_()
    label = torch.tensor([3, 3, 0, -1, 2, 2])
    phase = np.stack([np.roll(np.arange(9), -k) for k in (3, 4, 0, 1, 2, 2)])[:, :5].astype(np.int16)
    density = np.array([0, 1, 2, np.nan, 0, 1], dtype=np.float32)
    targets = Targets(phase=phase, logit=rng.normal(size=(6, 5)).astype(np.float32), density=density)
    classes, far = target_loss(logits, label, targets, TargetWeights(density_weight=0.0))
    (gradient,) = torch.autograd.grad(classes, logits)
    assert (gradient.abs().sum(1) > 0).tolist() == [True, False, True, False, True, True]
    assert float(far.detach()) == 0.0
    best = torch.from_numpy(phase.astype(np.int64))
    same = dataclasses.replace(targets, logit=logits.detach().gather(1, best).numpy())
    assert abs(float(target_loss(logits.detach(), label, same, TargetWeights())[0])) < 1e-6


def test_a_new_network_learns_and_a_stopped_run_goes_on(paths, tensors, tmp_path):  # noqa: F811
    settings = DistilSettings(shape=SHAPE, n_steps=40, n_atoms=700, warm_up=5, score_share=0.5)
    one = Distillation(paths, tensors, CONFIG, len(PHASES), settings)
    losses = []
    with BlockPool() as pool:
        for batch, scored in one.batches():
            losses.append(one.advance(batch, scored, pool))
    assert np.isfinite(losses).all()
    label = [loss[0] for loss in losses]
    assert np.mean(label[-5:]) < 0.7 * np.mean(label[:5])
    first = Distillation(paths, tensors, CONFIG, len(PHASES), settings)
    assert not first.run(tmp_path / "run", seconds=0.0)
    second = Distillation(paths, tensors, CONFIG, len(PHASES), settings)
    assert second.run(tmp_path / "run")
    for name, tensor in one.result()[0].items():
        np.testing.assert_allclose(second.result()[0][name], tensor, rtol=1e-3, atol=1e-4)
    other = dataclasses.replace(settings, seed=1)
    with pytest.raises(InputError, match="made with other settings"):
        Distillation(paths, tensors, CONFIG, len(PHASES), other).resume(tmp_path / "run")
