"""A new network from random weights: radial functions in training, its scale, a short run."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from test_end_to_end import CONFIG, PHASES, head, source, tensors  # noqa: F401 - fixtures

from ovito_mace_phase.lab.samples.source import SampleMix
from ovito_mace_phase.lab.training.batches import make_batch
from ovito_mace_phase.lab.training.higher_degree import with_degree
from ovito_mace_phase.lab.training.new_network import (
    NewShape,
    equalise_floors,
    features_of,
    new_model,
    new_network,
    standardise,
)
from ovito_mace_phase.lab.training.new_run import NewRun, NewRunSettings
from ovito_mace_phase.lab.training.radial import N_KNOTS, trained_tables
from ovito_mace_phase.lab.training.rehearsal import Rehearsal
from ovito_mace_phase.lab.training.step import Part, TrainableModel, training_step
from ovito_mace_phase.model.network.head import HeadConfig, PhaseHead
from ovito_mace_phase.model.network.layers import as_torch, leaves, with_leaves
from ovito_mace_phase.model.network.operations.torch_operations import TorchOperations
from ovito_mace_phase.model.network.radial_tables import hermite_table, radial_functions
from ovito_mace_phase.runtime.errors import InputError
from ovito_mace_phase.runtime.threads import BlockPool

SHAPE = NewShape(n_channels=8, l_max=2, r_max=4.5, n_layers=2, radial_hidden=(8,), n_hidden=16, n_density=8)
needs_muon = pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch before 2.9 has no Muon")
MIX = SampleMix(common_weight=1.0, background=0.1, dynamics=0.0, stackings=0.0, unlisted=0.0)


@pytest.fixture
def samples(source, rng):  # noqa: F811
    return [source.draw_any(MIX, rng) for _ in range(24)]


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
    batch = make_batch(samples[:4], SHAPE.r_max)
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
    batch = make_batch(samples, SHAPE.r_max)
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
        standardise(model, make_batch(samples[:9], SHAPE.r_max))
        torch.testing.assert_close(model.head(features), before, rtol=1e-3, atol=1e-3)
    floor = model.head.floor.unflatten(0, (SHAPE.n_layers + 2, -1))
    torch.testing.assert_close(floor[-2], floor[-1])


def test_blocks_of_means_get_one_floor(tensors, samples, rng):  # noqa: F811
    drawn, config = drawn_network(tensors, rng)
    batch = make_batch(samples, SHAPE.r_max)
    model = new_model(drawn, config, SHAPE, len(PHASES), batch)
    own, factor = model.head, 1.5
    own.floor.unflatten(0, (SHAPE.n_layers + 2, -1))[-1].mul_(factor)
    with torch.no_grad():
        before = (features_of(model, batch, roots=True) - own.mean) / own.scale
        kept = own.floor.unflatten(0, (SHAPE.n_layers + 2, -1))[:-2].clone()
        equalise_floors(model, batch)
        after = (features_of(model, batch, roots=True) - own.mean) / own.scale
    floor = own.floor.unflatten(0, (SHAPE.n_layers + 2, -1))
    torch.testing.assert_close(floor[-2], floor[-1])
    torch.testing.assert_close(floor[:-2], kept)
    torch.testing.assert_close(after.mean(0), before.mean(0), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(after.std(0), before.std(0), rtol=1e-3, atol=1e-3)
    assert (after - before).abs().max() < 0.5


@needs_muon
def test_a_new_network_learns_and_a_stopped_run_goes_on(source, tensors, tmp_path):  # noqa: F811
    settings = NewRunSettings(shape=SHAPE, n_steps=40, n_atoms=700, warm_up=5, score_begins=0.5, mix=MIX, rehearsed=0)

    def new(**changes):
        return NewRun(source, tensors, CONFIG, dataclasses.replace(settings, **changes))

    one = new()
    with BlockPool() as pool:
        losses = np.array([one.advance(batch, scored, pool) for batch, scored in one.batches()])
    label, score = losses.T
    assert np.isfinite(label).all()
    assert np.isnan(score[:20]).all()
    assert np.isfinite(score[21:]).any()
    assert label[-5:].mean() < 0.7 * label[:5].mean()
    assert not new().run(tmp_path / "run", seconds=0.0)
    again = new()
    assert again.run(tmp_path / "run")
    for name, tensor in one.result()[0].items():
        np.testing.assert_allclose(again.result()[0][name], tensor, rtol=1e-3, atol=1e-4)
    longer = new(n_steps=42)
    assert longer.run(tmp_path / "run")
    assert longer.step == 42
    with pytest.raises(InputError, match="made with other settings"):
        new(seed=1).resume(tmp_path / "run")


@needs_muon
def test_steps_of_a_resumed_run_have_the_same_samples(source, tensors):  # noqa: F811
    run = NewRun(source, tensors, CONFIG, NewRunSettings(shape=SHAPE, n_atoms=300, mix=MIX))
    all_steps = run.samples()
    steps = [next(all_steps) for _ in range(4)]
    run.step = 3
    step, drawn = next(run.samples())
    assert step == steps[3][0] == 3
    for (sample, label), (wanted, wanted_label) in zip(drawn, steps[3][1], strict=True):
        assert label == wanted_label
        np.testing.assert_array_equal(sample.frame.positions, wanted.frame.positions)


@needs_muon
def test_rows_of_the_last_steps_are_rehearsed(source, tensors):  # noqa: F811
    """The class branch has the gradient of the rows, the network that of the batch."""
    settings = NewRunSettings(shape=SHAPE, n_steps=40, n_atoms=700, mix=MIX, remembered=500, remembered_each=200)

    def gradients(rehearsed, **changes):
        run = NewRun(source, tensors, CONFIG, dataclasses.replace(settings, rehearsed=rehearsed, **changes))
        run.optimizers, run._rates = [], []
        batch, _ = next(run.batches())
        with BlockPool() as pool:
            run.advance(batch, [], pool)
        return run, {name: p.grad.clone() for name, p in run.model.named_parameters() if p.grad is not None}

    _, plain = gradients(0)
    run, both = gradients(1000)
    assert len(run.rehearsal) == 200
    for name, gradient in both.items():
        if name.startswith("network"):
            torch.testing.assert_close(gradient / gradient.norm(), plain[name] / plain[name].norm())
        elif not name.startswith("head.density"):
            assert (gradient - plain[name]).abs().max() > 0, name
    _, early = gradients(1000, remembered=1000)  # a fifth of the rows is there
    assert not [name for name in early if name.startswith("head.") and "density" not in name]


@needs_muon
@pytest.mark.parametrize("since", [50, 300])
def test_the_score_pulls_no_harder_than_the_labels(source, tensors, since):  # noqa: F811
    """However long the score of the density branch is; less over the first 200 steps."""
    settings = NewRunSettings(shape=SHAPE, n_steps=1000, n_atoms=700, mix=MIX, score_begins=0.1, score_share=0.5)

    def gradients(with_score):
        run = NewRun(source, tensors, CONFIG, settings)
        run.optimizers, run._rates, run.step = [], [], 100 + since
        torch.nn.init.constant_(run.model.head.density_last.weight, 1e4)
        batch, scored = next(run.batches())
        with BlockPool() as pool:
            _, loss = run.advance(batch, scored if with_score else [], pool)
        assert (loss > 10.0) if with_score else np.isnan(loss)
        return {name: p.grad.clone() for name, p in run.model.named_parameters() if p.grad is not None}

    plain, both = gradients(False), gradients(True)
    network = [name for name in plain if name.startswith("network")]
    pull = torch.nn.utils.get_total_norm([both[name] - plain[name] for name in network])
    labels = torch.nn.utils.get_total_norm([plain[name] for name in network])
    assert float(pull / labels) == pytest.approx(min(1.0, since / 200), rel=1e-3)
    assert all(torch.equal(both[name], plain[name]) for name in plain if "head" in name and "density" not in name)


def test_a_density_branch_that_says_nothing_keeps_its_weights(tensors, samples, rng):  # noqa: F811
    drawn, config = drawn_network(tensors, rng)
    model = new_model(drawn, config, SHAPE, len(PHASES), make_batch(samples[9:], SHAPE.r_max))
    before = {name: p.detach().clone() for name, p in model.head.density_first.named_parameters()}
    standardise(model, make_batch(samples[:9], SHAPE.r_max))
    assert all(torch.equal(p, before[name]) for name, p in model.head.density_first.named_parameters())
    torch.nn.init.normal_(model.head.density_last.weight)
    standardise(model, make_batch(samples[9:], SHAPE.r_max))
    assert not torch.equal(model.head.density_first.bias, before["bias"])


def test_the_memory_of_rows_holds_the_last(rng):
    config = HeadConfig(n_features=6, n_phases=4, n_hidden=8)
    classes, memory = PhaseHead(config), Rehearsal(10, 6, torch.device("cpu"))
    features = torch.from_numpy(rng.normal(size=(17, 6)).astype(np.float32))
    label = torch.from_numpy(rng.integers(0, 4, 17))
    memory.add(features[:4], label[:4])
    assert len(memory) == 4
    memory.add(features[4:9], label[4:9])
    memory.add(features[9:], label[9:])
    assert len(memory) == 10
    loss = memory.learn(classes, 50, rng)
    expected = torch.nn.functional.cross_entropy(classes(features[7:]), label[7:])
    assert loss == pytest.approx(expected.item(), rel=1e-5)
    (gradient,) = torch.autograd.grad(expected, classes.first.weight)
    torch.testing.assert_close(classes.first.weight.grad, gradient)


def test_a_network_that_grows_in_degree_says_what_it_said(tensors, samples, rng):  # noqa: F811
    high = drawn_network(tensors, rng, dataclasses.replace(SHAPE, l_max=3))
    batch = make_batch(samples, SHAPE.r_max)
    low_tensors, low = drawn_network(tensors, rng)
    trained = new_model(low_tensors, low, SHAPE, len(PHASES), batch)
    known = {name: tensor.detach().numpy() for name, tensor in trained.tensors().items()}
    grown = with_degree(high, known, low, trained.head, batch)
    assert grown.config.l_max == 3
    before, after = (features_of(model, batch, roots=True) for model in (trained, grown))
    split = (-1, SHAPE.n_layers + 2, grown.config.l_max + 2, SHAPE.n_channels)
    lower, higher = before.unflatten(0, (-1,)), after.reshape(split)
    first = lower.reshape(-1, SHAPE.n_layers + 2, low.l_max + 2, SHAPE.n_channels)[:, 0, 1:]
    torch.testing.assert_close(higher[:, 0, 1:4], first, rtol=1e-4, atol=1e-4)  # messages of the first layer
    said, says = trained.head(before), grown.head(after)
    assert (says - said).square().mean().sqrt() < 0.3 * said.std()
    new = higher[:, :, 4]
    assert (new.std(dim=0) > 0.0).all()
    assert torch.isfinite(new).all()
    with pytest.raises(InputError, match="can only grow in degree"):
        with_degree(drawn_network(tensors, rng, dataclasses.replace(SHAPE, r_max=5.0)), known, low, trained.head, batch)


@needs_muon
def test_a_run_goes_on_from_a_trained_network(source, tensors, rng, tmp_path):  # noqa: F811
    settings = NewRunSettings(shape=SHAPE, n_steps=4, n_atoms=300, warm_up=1, score_begins=1.0, mix=MIX)
    first = NewRun(source, tensors, CONFIG, settings)
    first.run(tmp_path / "first")
    wider = dataclasses.replace(settings, shape=dataclasses.replace(SHAPE, l_max=3))
    second = NewRun(source, tensors, CONFIG, wider, begin=first.result())
    assert second.run(tmp_path / "second")
    network, config, grown = second.result()
    assert config.l_max == 3
    assert grown.config.n_features == (SHAPE.n_layers + 2) * 5 * SHAPE.n_channels
    assert all(np.isfinite(tensor).all() for tensor in network.values())
    with pytest.raises(InputError):
        NewRun(source, tensors, CONFIG, wider).resume(tmp_path / "second")
