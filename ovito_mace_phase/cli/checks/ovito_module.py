"""Whether OVITO can be imported, and finds the modifier."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata

from .finding import Finding

GROUP = "OVITO.Modifier"
_LIBRARIES = "libGL, libEGL, libOpenGL, libxkbcommon"


def check_ovito() -> Iterator[Finding]:
    """Yield OVITO's version and whether the modifier is registered."""
    try:
        import ovito
    except Exception as error:  # whatever a broken installation raises
        yield Finding(
            name="OVITO",
            text=f"cannot be imported: {type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}",
            state="wrong",
            remedy="install it again: python -m pip install --force-reinstall ovito. If a library is missing whose "
            f"name starts with one of {_LIBRARIES}: apt install libgl1 libegl1 libopengl0 libxkbcommon0",
        )
        return
    found = [
        entry for entry in metadata.entry_points(group=GROUP) if entry.value == "ovito_mace_phase:MacePhaseModifier"
    ]
    if not found:
        yield Finding(
            name="OVITO",
            text=f"{ovito.version_string}; this Python does not know the modifier, so OVITO Pro does not list it",
            state="note",
            remedy="ovitos -m pip install --user .   (in the clone), then restart OVITO Pro",
        )
        return
    yield Finding(name="OVITO", text=f"{ovito.version_string}, lists the modifier as {found[0].name!r}")
