"""Models by name: those of the package, and the path of the one that a user asks for."""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).parent / "weights"
DEFAULT = "mace-phase-8"
MODELS: dict[str, Path] = {name: _FOLDER / name.replace("-", "_") for name in ("mace-phase-6", "mace-phase-8")}
"""Name -> path without suffix."""
SHIPPED = MODELS[DEFAULT]


def model_path(model: str | Path | None = None) -> Path:
    """Return the path of a model.

    Parameters
    ----------
    model : str or Path, optional
        Name of a model of the package, or path of one of the two files of a model, with or without its suffix;
        None or "" is the default model.
    """
    if model is None or model == "":
        return MODELS[DEFAULT]
    return MODELS.get(str(model), Path(model))
