"""Whether this machine gives the answers that were stored: two small frames are classified and compared.

    |logit - stored| <= LOGIT_TOLERANCE,   label = stored,   |RMSD - stored| <= RMSD_TOLERANCE    for every atom

Stored logits are those of mace-torch, which shares neither kernels nor blocks with the engine. They run to -90, and in
float32 both are off by 0.003 to 0.005 of what they are in float64. Labels and RMSD are those of the default settings.
`answers.npz` holds, for the frame NAME: NAME.positions (n_atoms, 3) A, NAME.types, NAME.cell (3, 3) A, NAME.logits
(n_atoms, n_keys), NAME.phase, NAME.rmsd, the `keys` whose logits they are, and the `sha256` of the model.
`docs/tools/doctor_answers.py` makes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ovito_mace_phase.model.store import get_card
from ovito_mace_phase.runtime.errors import MacePhaseError

from .finding import Finding

FILE = Path(__file__).with_name("answers.npz")
LOGIT_TOLERANCE = 0.02
RMSD_TOLERANCE = 1e-3
_REMEDY = (
    "delete the folders __pycache__ of the package and the folder NUMBA_CACHE_DIR, so that kernels are compiled again; "
    "if it stays, work with --device cpu, install numba, llvmlite and torch in the versions of constraints.txt, and "
    "report it with this output"
)


def check_answers(device: str, file: Path = FILE) -> Iterator[Finding]:
    """Yield whether labels, logits and RMSD of the stored frames come out again on a device."""
    with np.load(file) as stored:
        answers = dict(stored)
    if str(answers["sha256"]) != get_card(None).get("sha256"):
        yield Finding(
            name="answers",
            text="the stored answers are of another model than the one that is shipped, so nothing was compared",
            state="wrong",
            remedy="install ovito-mace-phase again, from one source",
        )
        return
    frames: dict[str, dict[str, Any]] = {}
    for key, value in answers.items():
        name, _, part = key.partition(".")
        if part:
            frames.setdefault(name, {})[part] = value
    for name, frame in frames.items():
        try:
            yield _compared(name, frame, [str(key) for key in answers["keys"]], device)
        except MacePhaseError as error:  # its message says what to do
            yield Finding(name="answers", text=f"{name}: {error}", state="wrong")
            return


def _compared(name: str, stored: Mapping[str, Any], keys: list[str], device: str) -> Finding:
    """Classify one frame and compare."""
    found = answers_of(stored["positions"], stored["types"], stored["cell"], keys, device=device)
    n_atoms = len(stored["phase"])
    same = int((found["phase"] == stored["phase"]).sum())
    off = float(np.abs(found["logits"] - stored["logits"]).max())
    rmsd = float(np.abs(found["rmsd"] - stored["rmsd"]).max())  # NaN where no template fits, so nowhere in these frames
    text = (
        f"{name}: {same} of {n_atoms} labels as stored, logits within {off:.1g} (allowed {LOGIT_TOLERANCE:g}), "
        f"RMSD within {rmsd:.1g} (allowed {RMSD_TOLERANCE:g})"
    )
    if same == n_atoms and off <= LOGIT_TOLERANCE and rmsd <= RMSD_TOLERANCE:  # False with NaN
        return Finding(name="answers", text=text)
    return Finding(name="answers", text=text, state="wrong", remedy=_REMEDY)


def answers_of(positions: Any, types: Any, cell: Any, keys: list[str], **options: Any) -> dict[str, Any]:
    """Classify a periodic frame; return phase (n_atoms,), rmsd (n_atoms,) and logits (n_atoms, n_keys) of the keys."""
    from ovito_mace_phase.classification.classify import classify

    result = classify(positions, types, cell, True, keep_logits=True, **options)
    columns = [[phase.key for phase in result.phases].index(key) for key in keys]
    return {"phase": result.phase, "rmsd": result.rmsd, "logits": result.logits[:, columns]}
