"""How fast one core draws training samples, kind by kind: microseconds an atom and atoms a second.

    OMP_NUM_THREADS=1 python docs/tools/sampler_rate.py --data mp_labelled.npz [--melts DIR] [--dynamics DIR]

Every kind is drawn for a few seconds after a start that fills the pool and compiles; kinds without data are left out.
Seconds are those that the processor spent on it, so that other processes count little.
`single` draws independent samples, the rest are streams (`lab/samples/pool.py`). The last rows are the edges that a
batch needs on top, for two cutoffs.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from ovito_mace_phase.lab.features.edges import edges_of
from ovito_mace_phase.lab.samples.sampler import Sample, SampleSettings
from ovito_mace_phase.lab.samples.source import SampleMix, SampleSource
from ovito_mace_phase.lab.training.first_stage import Sources, chosen_phases, load_data

CUTOFFS = (4.5, 6.05)
N_SLOTS = 6
Stream = Iterator[tuple[Sample, int]]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--melts", type=Path)
    parser.add_argument("--dynamics", type=Path)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each kind")
    parser.add_argument("--start", type=int, default=400, help="samples before the clock starts")
    given = parser.parse_args()
    sources = Sources(start=given.data, data=given.data, melts=given.melts, dynamics=given.dynamics)
    source = load_data(sources, chosen_phases(()), 0).source(N_SLOTS)
    print(f"{'kind':24s} us an atom   atoms/s   atoms a sample")
    for name, stream in streams(source).items():
        list(islice(stream, given.start))
        show(name, *timed(stream, given.seconds))
    frames = [sample.frame for sample, _ in islice(source.stream(SampleMix(), (2,)), 300)]
    for cutoff in CUTOFFS:
        edges_of(frames[:3], cutoff)
        started = time.process_time()
        n_atoms = edges_of(frames, cutoff).n_atoms
        show(f"edges, {cutoff} A", n_atoms, len(frames), time.process_time() - started)


def streams(source: SampleSource) -> dict[str, Stream]:
    """Return what is timed."""
    mix, one = SampleMix(), SampleMix(background=0.0, dynamics=0.0, stackings=0.0, unlisted=0.0)
    large = dataclasses.replace(mix, sample=dataclasses.replace(mix.sample, atoms=(100, 200)))
    found = {
        "default mix": source.stream(mix, (0,)),
        "default mix, one use": source.stream(with_uses(mix, 1), (0,)),
        "default mix, four uses": source.stream(with_uses(mix, 4), (0,)),
        "default mix, single": single(source, mix),
        "100 to 200 atoms": source.stream(large, (0,)),
        "crystals": source.stream(one, (0,)),
        "stackings": source.stream(dataclasses.replace(one, stackings=1.0), (0,)),
        "background": source.stream(dataclasses.replace(one, background=1.0), (0,)),
    }
    for kind, share in (("white noise", 0.0), ("correlated noise", 1.0)):
        sample = dataclasses.replace(SampleSettings(), correlated=share)
        found[f"crystals, {kind}"] = source.stream(dataclasses.replace(one, sample=sample), (0,))
    if source.unlisted:
        found["unlisted"] = source.stream(dataclasses.replace(one, unlisted=1.0), (0,))
    if source.dynamics:
        found["dynamics"] = source.stream(dataclasses.replace(one, dynamics=1.0), (0,))
    return found


def with_uses(mix: SampleMix, uses: int) -> SampleMix:
    """Return the mix with that many samples of a crystal."""
    return dataclasses.replace(mix, pool=dataclasses.replace(mix.pool, uses=uses))


def single(source: SampleSource, mix: SampleMix) -> Stream:
    """Yield independent samples."""
    rng = np.random.default_rng(0)
    while True:
        yield source.draw_any(mix, rng)


def timed(stream: Stream, seconds: float) -> tuple[int, int, float]:
    """Draw for a while; returns atoms, samples and seconds."""
    n_atoms = n_samples = 0
    started = time.process_time()
    while (spent := time.process_time() - started) < seconds:
        n_atoms += len(next(stream)[0].slots)
        n_samples += 1
    return n_atoms, n_samples, spent


def show(name: str, n_atoms: int, n_samples: int, seconds: float) -> None:
    """Print a row."""
    print(
        f"{name:24s} {1e6 * seconds / n_atoms:10.1f} {n_atoms / seconds:9,.0f} {n_atoms / n_samples:10.1f}", flush=True
    )


if __name__ == "__main__":
    main()
