"""From a MACE `.model` file (a pickled torch module) to the safetensors + JSON card of this package.

The only module that imports mace, and the only one that unpickles: a pickle can run any code, so the file is hashed
first and opened only when it is the known MACE-MP-0 small, or when the caller says that it is trusted.
`from_mace.py` does the arithmetic, `network/model_file.py` lists the tensors.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

from ovito_mace_phase.model.network.elements import select_elements
from ovito_mace_phase.model.network.model_file import save_model
from ovito_mace_phase.runtime.errors import InputError, MissingPackageError, ModelFileError

from .from_mace import convert_module

__all__ = ["convert", "convert_module", "find_original", "select_elements"]

ORIGINAL_SHA256 = "2ddb079cee0e131eaaf6912ba581b394551ead283e95c99cfe78c605d10b5736"
ORIGINAL_NAME = "2023-12-10-mace-128-L0_energy_epoch-249.model"
ORIGINAL_URL = f"https://github.com/ACEsuit/mace-mp/releases/download/mace_mp_0/{ORIGINAL_NAME}"
ORIGINAL_VARIABLE = "MACE_MP_0_SMALL"


def convert(model_path: str | Path, out_path: str | Path, *, allow_other: bool = False) -> dict[str, Any]:
    """Write `out_path`.safetensors and `out_path`.json from a MACE model file; return the card.

    Raises ModelFileError when the file is not the known MACE-MP-0 small and `allow_other` is not set, or when its
    architecture is another one. `allow_other` runs whatever code the pickle holds: for files you trust only.
    """
    model_path = Path(model_path)
    try:
        blob = model_path.read_bytes()
    except OSError as error:
        raise ModelFileError(f"cannot read {model_path} ({error.strerror})") from error
    checksum = hashlib.sha256(blob).hexdigest()
    known = checksum == ORIGINAL_SHA256
    if not known and not allow_other:
        raise ModelFileError(
            f"{model_path} is not MACE-MP-0 small: sha256 is {checksum}, expected {ORIGINAL_SHA256}. Opening a .model "
            "file runs code stored in it: add --allow-other only if you trust its origin"
        )
    tensors, config = convert_module(_unpickle(blob, model_path))
    card: dict[str, Any] = {"network": config.to_card(), "original": {"file": model_path.name, "sha256": checksum}}
    if known:
        card["original"] |= {
            "name": "MACE-MP-0 small",
            "file": ORIGINAL_NAME,
            "url": ORIGINAL_URL,
            "licence": "MIT",
            "citation": "I. Batatia et al., A foundation model for atomistic materials chemistry, arXiv:2401.00096",
        }
    save_model(out_path, tensors, card)
    return card


def find_original() -> Path:
    """Return the path of MACE-MP-0 small: from the variable MACE_MP_0_SMALL, else from the download cache of mace.

    Raises InputError, which says how to get the file, when neither has it.
    """
    named = os.environ.get(ORIGINAL_VARIABLE)
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "mace"
    # mace names cached downloads by the letters and digits of the file name
    cached = cache / "".join(c for c in ORIGINAL_NAME if c.isalnum() or c == "_")
    path = Path(named) if named else cached
    if path.is_file():
        return path
    raise InputError(
        f"MACE-MP-0 small not found at {path}. Download it (32 MB, MIT licence) with mace itself: "
        "python -c \"from mace.calculators import mace_mp; mace_mp('small')\" , or get "
        f"{ORIGINAL_URL} and set the environment variable {ORIGINAL_VARIABLE} to its path"
    )


def _unpickle(blob: bytes, path: Path) -> Any:
    """Load the torch module in the bytes of a pickled file on the CPU: the same bytes that were hashed."""
    try:
        with _environment_kept("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"):
            import mace.modules  # noqa: F401  (the classes that the pickle names)
            import torch
    except ImportError as error:
        raise MissingPackageError(f"converting needs mace-torch ({error}): pip install mace-torch") from error
    try:
        # weights_only=False: a .model file is a whole pickled module, which weights_only refuses to load
        return torch.load(BytesIO(blob), map_location="cpu", weights_only=False)
    except Exception as error:  # a damaged pickle may raise anything
        raise ModelFileError(f"{path} is not a MACE model file ({type(error).__name__}: {error})") from error


@contextmanager
def _environment_kept(name: str) -> Iterator[None]:
    """Undo what the block does to one environment variable: importing mace makes every later torch.load unsafe."""
    before = os.environ.get(name)
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = before
