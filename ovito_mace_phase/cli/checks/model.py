"""Whether the files of the model are whole: checksum, shapes and numbers, as whenever a model is read."""

from __future__ import annotations

from collections.abc import Iterator

from ovito_mace_phase.model.registry import SHIPPED, model_path
from ovito_mace_phase.runtime.errors import ModelFileError

from .finding import Finding


def check_model(model: str = "") -> Iterator[Finding]:
    """Yield whether a model can be read; "" is the shipped one."""
    from ovito_mace_phase.model.network.model_file import load_model

    path = model_path(model)
    try:
        _, card = load_model(path)
    except ModelFileError as error:
        shipped = "install ovito-mace-phase again: python -m pip install --force-reinstall --no-deps ."
        remedy = f"{shipped} (in the clone)" if path == SHIPPED else "copy both files of the model again"
        yield Finding(name="model", text=str(error), state="wrong", remedy=remedy)
        return
    yield Finding(name="model", text=f"{card.get('name')}, {len(card.get('phases', []))} phases, checksum right")
