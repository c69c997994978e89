"""One training batch for `step`; a share of its samples is first denoised by the current model.

A sample of amplitude sigma has the weight (s / max(sigma, sigma_0))^2 in the score loss, so that the relative
error of its score counts.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.lab.features.edges import edges_of
from ovito_mace_phase.lab.features.rows import own_labels
from ovito_mace_phase.lab.samples.sampler import Sample
from ovito_mace_phase.runtime.threads import BlockPool

from .step import Batch, TrainableModel, scores

_LONGEST_STEP = 0.3  # of one atom in one denoising step, A in network units
_ASTRAY = 1.3  # a step that makes the noise of a sample this much larger is not taken
_MOST_STEPS = 3


def denoise_some(
    samples: list[tuple[Sample, int]],
    model: TrainableModel,
    share: float,
    noise_scale: float,
    rng: np.random.Generator,
    pool: BlockPool,
) -> None:
    """Move about a `share` of the samples by one to three denoising steps of the model, in place."""
    n_steps = rng.integers(1, _MOST_STEPS + 1, len(samples)) * (rng.uniform(size=len(samples)) < share)
    for step in range(_MOST_STEPS):
        chosen = [k for k, n in enumerate(n_steps) if n > step and np.isfinite(samples[k][0].displacement).any()]
        if not chosen:
            return
        batch = make_batch([samples[k] for k in chosen], model.config.r_max)
        move = noise_scale**2 * scores(model, batch, pool)
        move *= np.minimum(1.0, _LONGEST_STEP / np.maximum(np.linalg.norm(move, axis=1), 1e-12))[:, None]
        for place, k in enumerate(chosen):
            sample, label = samples[k]
            candidate = moved(sample, move[batch.sample == place])
            if rms(candidate) < _ASTRAY * rms(sample) + 0.01:
                samples[k] = (candidate, label)
            else:
                n_steps[k] = 0


def moved(sample: Sample, by: npt.NDArray[np.float64]) -> Sample:
    """Return a sample whose atoms moved, by (n_atoms, 3)."""
    frame = dataclasses.replace(sample.frame, positions=sample.frame.positions + by)
    return dataclasses.replace(sample, frame=frame, displacement=sample.displacement + by)


def rms(sample: Sample) -> float:
    """Return the rms displacement of a sample per component, atoms without a clean position left out."""
    return float(np.sqrt(np.nanmean(sample.displacement**2)))


def noise_weight(batch: Batch, noise_scale: float, least: float) -> npt.NDArray[np.float64]:
    """Return (s / max(sigma, sigma_0))^2 of the sample of each atom, sigma the rms of the displacements it has."""
    square = np.nan_to_num((batch.displacement**2).mean(axis=1))
    known = np.isfinite(batch.displacement[:, 0])
    sigma_square = np.bincount(batch.sample, weights=square) / np.maximum(np.bincount(batch.sample, weights=known), 1)
    return (noise_scale**2 / np.maximum(sigma_square, least**2))[batch.sample]


def label_shares(batch: Batch, share: float) -> npt.NDArray[np.float64]:
    """Return how likely the label of each atom is looked at, (n_atoms,).

    `share` in a sample of one phase. Where there are several, as many atoms of each as this share of all allows: the
    one hcp layer of a twin is not outvoted by the fcc layers around it.
    """
    kinds, place, count = np.unique(
        np.stack([batch.sample, batch.label]), axis=1, return_inverse=True, return_counts=True
    )
    n_kinds = np.bincount(kinds[0])[batch.sample]
    n_atoms = np.bincount(batch.sample)[batch.sample]
    return np.minimum(1.0, share * n_atoms / (n_kinds * count[place.reshape(-1)]))


def make_batch(samples: list[tuple[Sample, int]], r_max: float) -> Batch:
    """Put samples side by side."""
    frames = [sample.frame for sample, _ in samples]
    sizes = [len(frame) for frame in frames]
    return Batch(
        edges=edges_of(frames, r_max + 0.05),
        slots=np.concatenate([sample.slots for sample, _ in samples]).astype(np.int64),
        label=np.concatenate([own_labels(*sample) for sample in samples]),
        displacement=np.concatenate([sample.displacement for sample, _ in samples]),
        sample=np.repeat(np.arange(len(samples)), sizes),
    )
