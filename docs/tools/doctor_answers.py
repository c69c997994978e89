"""Make the stored answers of `ovito-mace-phase doctor` anew: python docs/tools/doctor_answers.py, after a new model.

Frames: copper with an intrinsic stacking fault (2 of 11 layers are hcp), noise of 0.05 A; rock salt, noise of 0.12 A.
The logits are those of mace-torch; labels and RMSD those of the engine, which must have the same labels and logits
within half the tolerance. The labels must also stay when every atom moves by 1e-4 A at random, ten times, so that
rounding on another machine changes none.
"""

from __future__ import annotations

import sys
from collections import Counter

import numpy as np
from ase import Atoms
from ase.build import bulk, fcc111

from ovito_mace_phase.cli.checks.answers import FILE, LOGIT_TOLERANCE, answers_of
from ovito_mace_phase.model.store import get_card
from ovito_mace_phase.phases import phase_table

SEED = 1
KEYS = ("OTHER", "FCC", "HCP", "BCC", "DHCP", "ROCKSALT", "CSCL", "ZINCBLENDE", "SC", "L1_2")
MOVED = 1e-4  # A


def faulted_copper() -> Atoms:
    """Eleven close-packed layers under periodic boundaries: ABCABCABCAB and again A."""
    atoms = fcc111("Cu", size=(6, 6, 11), a=3.615, orthogonal=True, periodic=True)
    atoms.cell[2, 2] = 11 * 3.615 / np.sqrt(3)
    return atoms


FRAMES = {
    "copper": (faulted_copper, 0.05),
    "rocksalt": (lambda: bulk("NaCl", "rocksalt", a=5.64, cubic=True) * 3, 0.12),
}


def main() -> None:
    """Compute, compare and store."""
    rng = np.random.default_rng(SEED)
    keys = [key for key in KEYS if key in {phase.key for phase in phase_table()}]
    names = {phase.id: phase.key for phase in phase_table()}
    stored: dict[str, object] = {"sha256": get_card(None)["sha256"], "keys": np.array(keys)}
    for name, (build, noise) in FRAMES.items():
        atoms = build()
        positions = (atoms.positions + rng.normal(0.0, noise, atoms.positions.shape)).astype(np.float32)
        frame = (positions.astype(np.float64), atoms.numbers, atoms.cell[:])
        engine = answers_of(*frame, keys, device="cpu")
        oracle = answers_of(*frame, keys, device="cpu", backend="mace")
        off = np.abs(engine["logits"] - oracle["logits"]).max()
        print(name, dict(Counter(names[int(number)] for number in engine["phase"])), f"logits within {off:.1g}")
        if (engine["phase"] != oracle["phase"]).any() or off > 0.5 * LOGIT_TOLERANCE:
            sys.exit("the engine does not agree with mace-torch")
        for _ in range(10):
            moved = frame[0] + rng.uniform(-MOVED, MOVED, positions.shape)
            if (answers_of(moved, *frame[1:], keys, device="cpu")["phase"] != engine["phase"]).any():
                sys.exit("a label of this frame hangs by a thread: choose another seed")
        parts = {"positions": positions, "types": atoms.numbers.astype(np.int16), "cell": atoms.cell[:]}
        answers = {"logits": oracle["logits"], "phase": engine["phase"], "rmsd": engine["rmsd"].astype(np.float32)}
        stored |= {f"{name}.{part}": value for part, value in (parts | answers).items()}
    np.savez_compressed(FILE, **stored)
    print(f"{FILE.name}: {FILE.stat().st_size / 1024:.0f} kB")


if __name__ == "__main__":
    main()
