"""Utility applet of OVITO Pro: classify a whole trajectory to files, and open the labelled one.

    settings of the MACE phase classification in the selected pipeline -> `TrajectoryRun` -> files beside the trajectory

It lies on the *Utilities* tab of the command panel (entry point `OVITO.Utility`), and works in this process, frame by
frame; what was finished when it is cancelled is there when it is started again.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlparse
from urllib.request import url2pathname

import ovito
from ovito.gui import UtilityInterface
from ovito.io import import_file
from ovito.pipeline import Pipeline
from ovito.traits import FilePath, action_handler
from traits.api import Bool, Button, Enum, Str

from ovito_mace_phase.classification.settings import Settings
from ovito_mace_phase.model.store import get_table
from ovito_mace_phase.plugin.modifier import MacePhaseModifier
from ovito_mace_phase.runtime.errors import InputError
from ovito_mace_phase.runtime.files import check_input, input_stems, output_folder

from .run import TrajectoryRun

__all__ = ["ClassifyTrajectory"]


class ClassifyTrajectory(UtilityInterface):
    """Label every frame of a trajectory file, with the settings of the selected pipeline where it has the modifier."""

    file = FilePath("", label="Trajectory", ovito_placeholder="that of the selected pipeline")
    """Any file that OVITO reads; "" is that of the selected pipeline."""

    folder = Str("", label="Folder of the results", ovito_placeholder="NAME_phases beside it")
    """Created if needed."""

    frames = Str(":", label="Frames")
    """START:STOP:STEP as in slices, or one number."""

    select = Str("", label="Only atoms where", ovito_placeholder="all")
    """OVITO expression such as `ParticleType == 1`: classify these as if the others did not exist."""

    file_format = Enum("xyz", "dump", label="Format")
    """Of the labelled trajectory."""

    force = Bool(False, label="Replace earlier results")
    """Otherwise a folder that has results of another run is refused."""

    open_result = Bool(True, label="Open the labelled trajectory")
    """Add it to the scene, where it has the colours of the phases."""

    start = Button(ovito_label="Classify")

    @action_handler("start")
    def classify(self) -> Generator[str | float, None, None]:
        """Classify the frames, write the labelled trajectory and the table of the phases, and say what was found.

        Raises
        ------
        InputError
            When there is no file, or the file, its first frame or a parameter cannot be used.
        OSError
            When results cannot be written.
        """
        pipeline = ovito.scene.selected_pipeline
        file = Path(self.file) if self.file else file_of(pipeline)
        check_input(file)
        settings = settings_of(pipeline)
        if settings.only_selected and not self.select:
            raise InputError(
                "the modifier of the selected pipeline uses only selected particles, which a file does not know: write "
                "the selection as an expression into 'Only atoms where', or switch that option off"
            )
        stem = input_stems([file])[0]
        folder = output_folder(Path(self.folder) if self.folder else file.parent / f"{stem}_phases")
        run = TrajectoryRun(
            file,
            output=folder,
            stem=stem,
            frames=self.frames,
            select=self.select,
            settings=settings,
            file_format=self.file_format,
            force=self.force,
        )
        yield f"Reading {file.name}"
        with run:
            n_frames, n_done = len(run.frames), 0
            steps = run.steps(run.table)
            try:
                while True:
                    yield f"Frame {n_done + 1} of {n_frames}"
                    yield n_done / n_frames
                    next(steps)
                    n_done = min(n_done + 1, n_frames - 1)
            except StopIteration as end:
                result = end.value
            finally:
                steps.close()
            run.close()
        notes = [f"note: {note}" for note in result.notes] + ([f"Error: {result.fault}"] if result.fault else [])
        print("\n".join([f"{file}  ({result.text})", result.tables, *notes, f"written to {folder}"]))  # noqa: T201
        if self.open_result and result.labelled is not None:
            import_file(str(result.labelled)).add_to_scene()


def file_of(pipeline: Pipeline | None) -> Path:
    """Return the file that a pipeline reads; a pattern such as "dump.*" for a series of files.

    Raises
    ------
    InputError
        When there is no pipeline, or its input is not a local file.
    """
    path = getattr(getattr(pipeline, "source", None), "source_path", "")
    if isinstance(path, Sequence) and not isinstance(path, str):
        if len(path) != 1:
            raise InputError(
                f"the selected pipeline reads {len(path)} files that were chosen one by one; classify them one after "
                "the other, or name them by a pattern such as dump.*"
            )
        path = path[0]
    if not path:
        raise InputError("no file: choose a trajectory, or select a pipeline that reads one")
    url = urlparse(str(path))
    if url.scheme == "file":
        return Path(url2pathname(url.path))
    if "://" in str(path):
        raise InputError(f"{path} is not on this machine; download it first, then choose the local file")
    return Path(path)


def settings_of(pipeline: Pipeline | None) -> Settings:
    """Return the settings of the first MACE phase classification of a pipeline, those by default where it has none."""
    modifiers: Sequence[Any] = () if pipeline is None else pipeline.modifiers
    for modifier in modifiers:
        if isinstance(delegate := getattr(modifier, "delegate", None), MacePhaseModifier):
            return delegate.settings(get_table(delegate.model))
    return Settings()
