"""How far the confidence of a network is that of a label that a template fits: `geometry.confidence.FitTrust`.

    min over (a, b) of  mean w (log(1 + e^z) - y z) + RIDGE |(a, b) - (a, b)_0|^2,      z = a + b logit p

p the confidence of the network in its label, y whether the label after the fit is right, (a, b)_0 the numbers of
mace-phase-6; in six groups: the template says what the network says, or another phase, of the common phases and
ices, or of all others, and of these where the atoms around agree or not. Frames weigh alike, those of crystals that are
no class _UNLISTED times: more makes held-out crystals doubted (ECE 0.013 with 0.75, 0.016 with 1), less makes crystals
that are not in the table sure. They are of the validation part: crystals with noise and strain, layers of faults,
interfaces, and all other kinds that users bring.
"""

from __future__ import annotations

import logging
from dataclasses import fields

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.atoms.frame import Frame
from ovito_mace_phase.classification.geometry.confidence import FitTrust, case_of, logit
from ovito_mace_phase.classification.geometry.verdict import Reason, familiar
from ovito_mace_phase.classification.settings import Settings
from ovito_mace_phase.classification.stages import logits_of, network_frame_of, result_of
from ovito_mace_phase.lab.samples.source import SampleMix, SampleSource
from ovito_mace_phase.model.phase_model import PhaseModel
from ovito_mace_phase.runtime.errors import InputError

log = logging.getLogger(__name__)
RIDGE = 1e-3
MIX = SampleMix(common_weight=3.0, background=0.04, dynamics=0.0, stackings=0.08, unlisted=0.08, kinds=0.3)
_UNLISTED = 0.75
Float = npt.NDArray[np.float64]


def fit_trust(
    model: PhaseModel, source: SampleSource, n_samples: int, rng: np.random.Generator, mix: SampleMix = MIX
) -> FitTrust:
    """Return the numbers for a model, from samples of a part of the split that it was not trained on."""
    source.prepare(mix)
    rows = []
    for _ in range(n_samples):
        sample, column = source.draw_any(mix, rng)
        truth = np.full(len(sample.frame), column) if sample.label is None else sample.label
        try:
            rows.append(_rows(model, sample.frame, truth))
        except InputError as error:  # a vapour without neighbours has nothing to say
            log.info("left out: %s", error)
    group, p, right, weight = np.concatenate(rows, axis=1)
    start = FitTrust()
    found = {}
    for number, name in enumerate(one.name for one in fields(FitTrust)):
        mine = group == number
        before = getattr(start, name) or getattr(start, name.removesuffix("_divided"))
        found[name] = _regression(logit(p[mine]), right[mine], weight[mine], before)
        log.info("%s: %d atoms, %.3f right, %s", name, mine.sum(), right[mine].mean() if mine.any() else 0, found[name])
    return FitTrust(**found)


def _rows(model: PhaseModel, frame: Frame, truth: npt.NDArray[np.int64]) -> Float:
    """Return group, confidence of the network, right and weight of the fitted atoms of a frame, (4, n)."""
    kept = logits_of(network_frame_of(frame, model, Settings()), model, Settings())
    alone, result = result_of(kept, model, Settings(verify="off")), result_of(kept, model, Settings())
    known, accord = np.zeros(len(frame), dtype=bool), np.ones(len(frame))
    assert result.geometry is not None
    for part in result.geometry.parts:
        known[part.atoms] |= familiar(part.fits)
        matched = part.fits.template >= 0
        accord[part.atoms[matched]] = part.fits.accord[matched]
    ids = np.array([phase.id for phase in model.phases])
    asked = (result.reason == Reason.NONE) & (result.phase != 0) & (alone.phase != 0) & (truth >= 0)
    same = result.phase == alone.phase
    weight = np.full(len(frame), (_UNLISTED if (truth == 0).all() else 1.0) / len(frame))
    rows = np.array([case_of(same, known, accord), alone.confidence, ids[truth] == result.phase, weight])
    return np.asarray(rows[:, asked], dtype=np.float64)


def _regression(z: Float, right: Float, weight: Float, start: tuple[float, float]) -> tuple[float, float]:
    """Return a and b; `start` where there is nothing to learn from."""
    from scipy.optimize import minimize

    if not len(z):
        return start
    weight, first = weight / weight.sum(), np.array(start)

    def loss(x: Float) -> float:
        s = x[0] + x[1] * z
        return float((weight * (np.logaddexp(0.0, s) - right * s)).sum() + RIDGE * ((x - first) ** 2).sum())

    a, b = minimize(loss, first).x
    return round(float(a), 3), round(float(b), 3)
