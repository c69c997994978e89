"""An OVITO session, `<name>.ovito`, that opens a labelled trajectory with the phases as coloured types.

The types are given to the property that OVITO reads from the file (see `labelled_frame`): ids, keys and colours of the
phases of all frames. OVITO takes them for changes of a user, saves them, and keeps them in every frame.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import cast

import ovito
from ovito.data import DataCollection, ElementType, Property
from ovito.io import import_file
from ovito.modifiers import ColorByTypeModifier
from ovito.pipeline import FileSource

from .labelled_frame import TYPED
from .record import Kind


def write_session(path: Path, labelled: Path, kinds: Iterable[Kind]) -> None:
    """Write the session.

    Parameters
    ----------
    path : Path
    labelled : Path
        Trajectory in either format of `labelled_frame`.
    kinds : iterable of (id, key, colour)
        Phases of all frames.

    Raises
    ------
    RuntimeError
        When OVITO cannot read the trajectory or save the session.
    """
    pipeline = import_file(str(labelled.absolute()))
    data = cast("DataCollection", cast("FileSource", pipeline.source).data)
    typed = cast("Property", data.particles_[f"{TYPED}_"])
    typed.types.clear()
    for number, key, color in kinds:
        typed.types.append(ElementType(id=number, name=key, color=color))
    pipeline.modifiers.append(ColorByTypeModifier(property=TYPED))
    pipeline.add_to_scene()
    try:
        ovito.scene.save(str(path))
    finally:
        pipeline.remove_from_scene()
