"""Denoising: step control and bookkeeping on a density whose answer is known; the shipped model on real crystals."""

from __future__ import annotations

import csv
import dataclasses

import numpy as np
import pytest
from ase.build import bulk
from ovito.modifiers import DeleteSelectedModifier, ExpressionSelectionModifier, PolyhedralTemplateMatchingModifier
from pipelines import collection, pipeline

from ovito_mace_phase import MacePhaseModifier, PhaseModel, classify
from ovito_mace_phase.atoms.frame import make_frame
from ovito_mace_phase.atoms.network_frame import NetworkFrame
from ovito_mace_phase.classification.denoise import denoise
from ovito_mace_phase.classification.readout.distances import DistanceFit, distances
from ovito_mace_phase.classification.settings import Settings
from ovito_mace_phase.classification.stages import logits_of
from ovito_mace_phase.classification.step_damping import step_gain
from ovito_mace_phase.cli import main
from ovito_mace_phase.lab.evaluation.frames.defects import faulted, faults
from ovito_mace_phase.lab.ovito_methods import ovito_answer
from ovito_mace_phase.model.calibration import Calibration
from ovito_mace_phase.model.engine.gradient import LogDensity
from ovito_mace_phase.phases import phase_table
from ovito_mace_phase.runtime.errors import InputError, ModelFileError
from ovito_mace_phase.runtime.watch import Watch

FACTOR = 1.7


class Springs:
    """logP = -sum k |r - site|^2 / 2: each atom on a spring, in a file whose unit is FACTOR network units."""

    def __init__(self, sites, stiffness, noise_scale=0.2, step_errors=(0.0, 0.0)):
        self.sites, self.stiffness, self.noise_scale, self.calls = sites, stiffness, noise_scale, 0
        self.step_errors, self.calibration, self.device = np.array(step_errors), Calibration(), "cpu"
        self.phases = tuple(phase_table())[:2]

    def network_frame(self, frame, length_scale=None, cancelled=None):
        return NetworkFrame(frame=frame, factor=FACTOR, slots=np.zeros(len(frame), dtype=np.int64), r_max=6.0)

    def stream_logits(self, frame, keep, *, memory=None, watch=None, with_bonds=False):
        """Every atom is of phase 1."""
        watch.progress and watch.progress(1.0)
        keep(np.arange(len(frame)), np.tile(np.float32([0.0, 9.0]), (len(frame), 1)))

    def logit_summary(self, *_, **__):
        """Not on a GPU."""

    ascent = logit_summary

    def log_density_gradient(self, frame, *, memory=None, watch=None):
        self.calls += 1
        off = frame.frame.positions - self.sites
        watch.progress and watch.progress(1.0)
        return LogDensity(
            log_density=-0.5 * (self.stiffness * off**2).sum(1),
            gradient=-np.broadcast_to(self.stiffness, off.shape) * off,
        )


def springs(rng, n_atoms=20):
    sites = rng.uniform(0, 20, (n_atoms, 3))
    off = rng.normal(0, 0.05, sites.shape)
    off -= off.mean(0)
    return sites, make_frame(sites + off, None, np.eye(3) * 20, True)


def test_the_right_noise_scale_takes_all_noise_off_in_one_step(rng):
    sites, frame = springs(rng)
    scale = 0.2
    model = Springs(sites, stiffness=(FACTOR / scale) ** 2, noise_scale=scale)
    done = denoise(frame, model, steps=8)
    np.testing.assert_allclose(done.frame.positions, sites, atol=1e-12)
    np.testing.assert_allclose(done.displacement, sites - frame.positions, atol=1e-12)
    assert done.converged
    assert [step.number for step in done.steps] == [0, 1]
    rms = np.sqrt(((sites - frame.positions) ** 2).sum(1).mean())
    assert done.steps[1].rms == pytest.approx(rms)


def test_steps_that_overshoot_are_shortened_and_logp_never_falls(rng):
    sites, frame = springs(rng)
    model = Springs(sites, stiffness=7.0 * (FACTOR / 0.2) ** 2)
    done = denoise(frame, model, steps=30)
    heights = [step.log_density for step in done.steps]
    assert (np.diff(heights) >= 0).all()
    assert done.steps[1].size < 1
    np.testing.assert_allclose(done.frame.positions, sites, atol=0.01)


def test_progress_rises_to_one_call_after_another(rng):
    sites, frame = springs(rng)
    seen = []
    denoise(frame, Springs(sites, stiffness=0.2 * (FACTOR / 0.2) ** 2), steps=5, watch=Watch(progress=seen.append))
    assert seen == sorted(seen)
    assert seen[-1] <= 1.0
    assert len(seen) == 6


def test_only_movable_atoms_move(rng):
    sites, frame = springs(rng)
    movable = rng.uniform(size=len(frame)) < 0.5
    movable[:2] = True, False
    done = denoise(frame, Springs(sites, stiffness=(FACTOR / 0.2) ** 2), movable=movable)
    assert (done.displacement[~movable] == 0).all()
    np.testing.assert_allclose(done.frame.positions[movable], sites[movable], atol=1e-12)


def test_steps_as_short_as_the_error_of_the_model_are_held_back(rng):
    """All atoms of this small box are neighbours, so all have the gain u^2 / (u^2 + 4 e^2)."""
    sites = rng.uniform(0, 1.4, (20, 3))  # diagonal 4.1 network units
    off = rng.normal(0, 0.02, sites.shape)
    frame = make_frame(sites + off - off.mean(0), None, np.eye(3) * 40, True)
    for error in (0.001, 0.05, 0.5):
        model = Springs(sites, stiffness=(FACTOR / 0.2) ** 2, step_errors=(0.3, error))
        done = denoise(frame, model, steps=1, tolerance=0.0)
        square = FACTOR**2 * ((frame.positions - sites) ** 2).sum(1).mean()
        gain = square / (square + 4 * error**2)
        np.testing.assert_allclose(done.displacement, gain * (sites - frame.positions), atol=1e-9)


def test_the_gain_is_local(rng):
    """Two clusters far apart: where little moves, little is followed, whatever happens elsewhere."""
    move = np.zeros((40, 3))
    move[:20, 0], move[20:, 1] = 0.3, 0.01
    positions = rng.uniform(0, 2, (40, 3)) + np.repeat([[5.0, 0, 0], [25.0, 0, 0]], 20, axis=0)
    frame, everywhere = make_frame(positions, None, np.eye(3) * 40, True), np.ones(40, dtype=bool)
    error = np.repeat([0.05, 0.02], 20)
    gain = step_gain(frame, move, error, 1.0, everywhere)
    np.testing.assert_allclose(gain, np.repeat([0.09 / 0.10, 1e-4 / (1e-4 + 0.0016)], 20))
    small = make_frame(positions / 3, None, np.eye(3) * 40 / 3, True)
    np.testing.assert_allclose(step_gain(small, move / 3, error, 3.0, everywhere), gain)
    held = everywhere.copy()
    held[5:20] = False
    np.testing.assert_allclose(step_gain(frame, move * held[:, None], error, 1.0, held)[:5], gain[:5])


@pytest.mark.parametrize(
    "errors", [0.1, {"FCC": "0.1"}, {"FCC": -0.1}, {"FCC": float("nan")}, {"FCC": 3.0}, {"FCC": True}]
)
def test_wrong_errors_in_the_card(model, errors):
    edited = PhaseModel(model.evaluator, model.phases, model.card | {"score_errors": errors})
    with pytest.raises(ModelFileError, match=r"score_errors.*copy both files"):
        denoise(make_frame(np.zeros((1, 3)), None, None, None), edited)


def test_a_phase_without_an_error_has_the_median(model):
    known = {"FCC": 0.01, "BCC": 0.03, "HCP": 0.02}
    edited = PhaseModel(model.evaluator, model.phases, model.card | {"score_errors": known})
    expected = [({"OTHER": 0.0} | known).get(phase.key, 0.02) for phase in model.phases]
    np.testing.assert_array_equal(edited.step_errors, expected)


@pytest.mark.parametrize("steps", [0, -1, 1001])
def test_wrong_number_of_steps(rng, steps):
    sites, frame = springs(rng)
    with pytest.raises(InputError, match=r"steps must be 1 to 1000"):
        denoise(frame, Springs(sites, 1.0), steps=steps)


def test_movable_of_another_length(rng):
    sites, frame = springs(rng)
    with pytest.raises(InputError, match=r"movable must have the shape \(20,\)"):
        denoise(frame, Springs(sites, 1.0), movable=np.ones(3, dtype=bool))


def test_a_model_for_labels_alone_says_so(model):
    plain = PhaseModel(model.evaluator, model.phases, {k: v for k, v in model.card.items() if k != "noise_scale"})
    with pytest.raises(InputError, match=r"trained for labels alone.*cannot denoise"):
        denoise(make_frame(np.zeros((1, 3)), None, None, None), plain)


def test_distance_from_the_order_parameter(rng):
    fit = DistanceFit(best=3.0, scale=0.15, r_squared=1.0)
    d = rng.uniform(0, 0.4, 50)
    np.testing.assert_allclose(fit.distance((3.0 - d**2 / (2 * 0.15**2)).astype(np.float32)), d, atol=1e-3)
    assert fit.distance(np.float32([3.5])) == 0


def test_distances_need_a_calibrated_model():
    with pytest.raises(InputError, match="not calibrated for distances"):
        distances({"FCC": np.zeros(1, dtype=np.float32)}, {"name": "x"}, 1.0)


# ---------------------------------------------------------------- the shipped model


@pytest.fixture(scope="module")
def model():
    return PhaseModel.load()


def rattled(rng, name="Cu", structure="fcc", sigma=0.08, repeat=3, **keywords):
    """Ideal positions and a frame with noise, sigma in units of the nearest-neighbour distance of fcc copper, 2.55."""
    atoms = bulk(name, structure, cubic=True, **keywords) * (repeat, repeat, repeat)
    noise = rng.normal(0, sigma, atoms.positions.shape)
    noise -= noise.mean(0)
    numbers = atoms.get_atomic_numbers()
    return atoms.positions, make_frame(atoms.positions + noise, numbers, np.array(atoms.cell), True)


def residual(sites, done, frame):
    rest, before = done.frame.positions - sites, frame.positions - sites
    rest = rest - rest.mean(0)
    return float(np.sqrt((rest**2).sum() / (before**2).sum()))


@pytest.mark.parametrize(
    ("name", "structure", "a"), [("Cu", "fcc", 3.6), ("NaCl", "rocksalt", 5.2), ("Si", "diamond", 5.1)]
)
def test_noise_is_taken_off(rng, model, name, structure, a):
    sites, frame = rattled(rng, name, structure, a=a, repeat=3 if structure == "fcc" else 2)
    done = denoise(frame, model)
    assert residual(sites, done, frame) < 0.5
    assert (np.diff([step.log_density for step in done.steps]) >= -1e-4).all()
    np.testing.assert_allclose(done.displacement.mean(0), 0, atol=1e-6)


def test_moves_turn_shift_and_permute_with_the_frame(rng, model):
    _, frame = rattled(rng)
    done = denoise(frame, model, steps=3)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    order = rng.permutation(len(frame))
    other = dataclasses.replace(
        frame,
        positions=((frame.positions + rng.uniform(-9, 9, 3)) @ turn)[order] * 2.7,
        cell=frame.cell @ turn * 2.7,
        species=frame.species[order],
    )
    moved = denoise(other, model, steps=3)
    np.testing.assert_allclose(moved.displacement, done.displacement[order] @ turn * 2.7, atol=2e-3)


def test_images_across_the_boundary_do_not_matter(rng, model):
    _, frame = rattled(rng)
    shifts = rng.integers(-2, 3, (len(frame), 3))
    far = dataclasses.replace(frame, positions=frame.positions + shifts @ frame.cell)
    np.testing.assert_allclose(
        denoise(far, model, steps=3).displacement, denoise(frame, model, steps=3).displacement, atol=1e-4
    )


def test_a_vacancy_stays_empty(rng, model):
    sites, frame = rattled(rng, repeat=4, sigma=0.05)
    kept = np.arange(1, len(frame))
    frame = make_frame(frame.positions[kept], None, frame.cell, True)
    done = denoise(frame, model)
    hole = sites[0]
    away = done.frame.positions - hole
    away -= np.round(away @ np.linalg.inv(frame.cell)) @ frame.cell
    assert np.linalg.norm(away, axis=1).min() > 0.85 * 3.61 / np.sqrt(2)


@pytest.mark.parametrize("name", ["intrinsic fault in FCC", "twin in FCC"])
def test_stacking_faults_survive(rng, model, name):
    """Common neighbour analysis finds the hcp layers of the perfect fault again, no more and no less."""
    fault = faulted(name, faults(12)[name], (4, 2))
    noisy = dataclasses.replace(
        fault.frame, positions=fault.frame.positions + rng.normal(0, 0.08, fault.frame.positions.shape)
    )
    done = denoise(noisy, model)
    np.testing.assert_array_equal(ovito_answer(fault.frame, "CNA"), fault.truth)
    assert np.mean(ovito_answer(done.frame, "CNA") == fault.truth) == 1.0


def test_known_logits_save_an_evaluation(rng, model, monkeypatch):
    _, frame = rattled(rng, repeat=3)
    here = model.network_frame(frame)
    known = logits_of(here, model, Settings())
    asked, evaluate = [], model.stream_logits
    monkeypatch.setattr(model, "stream_logits", lambda *args, **more: asked.append(1) or evaluate(*args, **more))
    plain = denoise(frame, model, steps=2)
    assert len(asked) == 1
    given = denoise(here, model, steps=2, kept=known)
    assert len(asked) == 1
    some = known.restricted([0, 1, 2], model.calibration.temperature)
    denoise(here, model, steps=1, kept=some)  # of some phases: of no use
    assert len(asked) == 2
    np.testing.assert_allclose(given.displacement, plain.displacement, atol=1e-6)


def test_classify_reports_both_frames(rng, model):
    _, frame = rattled(rng)
    result = classify(frame.positions, None, frame.cell, True, model=model, denoise_steps=4)
    plain = classify(frame.positions, None, frame.cell, True, model=model)
    np.testing.assert_array_equal(result.before.phase, plain.phase)
    np.testing.assert_allclose(result.before.confidence, plain.confidence)
    final = model.logits(result.denoised.network_frame)
    np.testing.assert_allclose(result.logits, final, atol=1e-4)
    assert plain.denoised is None


def test_an_empty_frame(model):
    frame = make_frame(np.zeros((0, 3)), None, None, None)
    assert denoise(frame, model).converged


# ---------------------------------------------------------------- OVITO and the command line


def test_the_modifier_writes_positions_and_table(rng):
    _, frame = rattled(rng)
    modifier = MacePhaseModifier(denoise_steps=3)
    data = pipeline(collection(frame.positions, frame.cell, types=np.ones(len(frame))), modifier).compute()
    moved = np.asarray(data.particles["Denoised Position"])
    shift = np.asarray(data.particles["Denoising Displacement"])
    np.testing.assert_allclose(np.asarray(data.particles.positions) + shift, moved, atol=1e-9)
    np.testing.assert_allclose(np.asarray(data.particles.positions), frame.positions, atol=1e-6)
    assert next(kind.name for kind in data.particles["Phase Before Denoising"].types) == "OTHER"
    table = data.tables["mace-denoising"]
    assert table["Step"][...].tolist() == [0, 1, 2, 3]
    assert table["logP per atom"][-1] > table["logP per atom"][0] + 0.3
    assert (np.diff(table["logP per atom"]) >= -1e-4).all()
    assert data.attributes["MacePhase.denoising.steps"] == len(table["Step"]) - 1
    assert data.attributes["MacePhase.denoising.rms_displacement"] == pytest.approx(np.sqrt((shift**2).sum(1).mean()))


def test_modifiers_further_down_can_go_on_with_denoised_positions(rng):
    _, frame = rattled(rng, sigma=0.15)
    matching = PolyhedralTemplateMatchingModifier(rmsd_cutoff=0.1)

    def found(**settings):
        line = pipeline(
            collection(frame.positions, frame.cell, types=np.ones(len(frame))), MacePhaseModifier(**settings), matching
        )
        return line.compute().attributes["PolyhedralTemplateMatching.counts.FCC"]

    assert found(denoise_steps=8, apply_to_positions=True) > found()


def test_unselected_atoms_stay(rng):
    _, frame = rattled(rng)
    choose = ExpressionSelectionModifier(expression="Position.X < 6")
    modifier = MacePhaseModifier(denoise_steps=2, only_selected=True, apply_to_positions=True)
    data = pipeline(collection(frame.positions, frame.cell, types=np.ones(len(frame))), choose, modifier).compute()
    chosen = np.asarray(data.particles.selection) != 0
    assert 0 < chosen.sum() < len(chosen)
    np.testing.assert_allclose(np.asarray(data.particles.positions)[~chosen], frame.positions[~chosen], atol=1e-6)
    assert (np.asarray(data.particles["Denoising Displacement"])[~chosen] == 0).all()
    assert (np.asarray(data.particles["Denoising Displacement"])[chosen] != 0).any()


def test_changing_a_cheap_setting_does_not_denoise_again(rng, monkeypatch):
    import ovito_mace_phase.classification.denoise as module

    _, frame = rattled(rng, repeat=2)
    modifier = MacePhaseModifier(denoise_steps=2)
    line = pipeline(collection(frame.positions, frame.cell, types=np.ones(len(frame))), modifier)
    before = np.asarray(line.compute().particles["Denoised Position"])
    monkeypatch.setattr(module, "denoise", lambda *_, **__: pytest.fail("denoised again"))
    modifier.confidence_threshold = 0.3
    np.testing.assert_array_equal(np.asarray(line.compute().particles["Denoised Position"]), before)


def test_distances_in_the_unit_of_the_file(rng):
    _, frame = rattled(rng, sigma=0.05)

    def mean(scale):
        modifier = MacePhaseModifier(order_parameters="FCC,BCC", distances=True)
        data = pipeline(
            collection(frame.positions * scale, frame.cell * scale, types=np.ones(len(frame))), modifier
        ).compute()
        return float(np.asarray(data.particles["Distance_FCC"]).mean()), set(data.particles.keys())

    (small, names), (large, _) = mean(1.0), mean(10.0)
    assert {"Distance_FCC", "Distance_BCC"} <= names
    assert large == pytest.approx(10 * small, rel=1e-3)
    assert small == pytest.approx(np.sqrt(3) * 0.05, rel=0.25)


def test_denoising_then_deleting_defects_in_one_pipeline(rng):
    _, frame = rattled(rng)
    line = pipeline(
        collection(frame.positions, frame.cell, types=np.ones(len(frame))),
        MacePhaseModifier(denoise_steps=2, apply_to_positions=True),
        ExpressionSelectionModifier(expression="Phase != 1"),
        DeleteSelectedModifier(),
    )
    assert line.compute().particles.count > 0.9 * len(frame)


def test_command_line(tmp_path, capsys):
    from ase.io import read, write

    crystal = bulk("Cu", cubic=True) * (3, 3, 3)
    crystal.rattle(0.08, seed=int(np.random.default_rng().integers(1000)))
    write(tmp_path / "hot.xyz", crystal)
    with pytest.raises(SystemExit) as status:
        main(
            [
                "classify", str(tmp_path / "hot.xyz"), "-o", str(tmp_path / "out"), "--no-picture",
                "--denoise-steps", "4", "--apply-to-positions", "--distances",
            ]
        )  # fmt: skip
    assert status.value.code == 0, capsys.readouterr().err
    labelled = read(tmp_path / "out" / "hot.xyz")
    shift = labelled.arrays["DenoisingDisplacement"]
    np.testing.assert_allclose(labelled.positions - shift, crystal.positions, atol=1e-3)
    assert "Distance_FCC" in labelled.arrays
    with (tmp_path / "out" / "hot.phases.csv").open() as file:
        rows = {row["phase"]: row for row in csv.DictReader(file)}
    assert int(rows["FCC"]["count"]) > 100  # of 108
    assert 0.02 < shift.std() < 0.2


def test_denoised_positions_without_steps(tmp_path, capsys):
    (tmp_path / "a.xyz").write_text("1\n\nCu 0 0 0\n")
    with pytest.raises(SystemExit) as status:
        main(["classify", str(tmp_path / "a.xyz"), "--apply-to-positions"])
    assert status.value.code == 2
    assert "--apply-to-positions needs --denoise-steps" in capsys.readouterr().err
