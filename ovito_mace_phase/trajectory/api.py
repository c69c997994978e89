"""Trajectory files: the entrance for many frames, from Python and the command line.

This module is read by every worker before OVITO is, and so imports OVITO within functions.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ovito_mace_phase.classification.settings import PARAMETERS, Settings, from_parameters
from ovito_mace_phase.model.store import get_table
from ovito_mace_phase.plugin.foreign_parameters import check_parameter
from ovito_mace_phase.runtime.errors import InputError
from ovito_mace_phase.runtime.files import check_input, input_stems, output_folder

from .record import FrameRecord
from .result import TrajectoryResult
from .run import TrajectoryRun
from .task import FileFormat
from .workers import Workers


def classify_trajectory(  # noqa: PLR0913 - the public signature
    file: str | Path,
    output: str | Path | None = None,
    *,
    frames: str = ":",
    select: str = "",
    file_format: FileFormat | None = "xyz",
    jobs: int = 1,
    scheduler: str = "",
    threads: int = 0,
    memory: str | None = None,
    restart: bool = False,
    force: bool = False,
    atom_style: str = "",
    columns: Sequence[str | None] = (),
    progress: Callable[[FrameRecord], None] | None = None,
    **settings: Any,
) -> TrajectoryResult:
    """Classify the frames of a trajectory file, with worker processes or a cluster.

    Every finished frame is kept in `output` until all are done. An interrupted run resumes when the call is repeated;
    repeated with other settings or another input it raises `InputError`.

    Parameters
    ----------
    file : str or Path
        In any format that OVITO reads; a pattern such as "dump.*" stands for the files of one trajectory.
    output : str or Path, optional
        Folder of the labelled trajectory and of `<name>.phases.csv`, created if needed. None leaves nothing on disk.
    frames : str
        START:STOP:STEP as in slices, or one number.
    select : str
        OVITO expression: classify only these atoms, as if the others did not exist.
    file_format : 'xyz', 'dump' or None
        Of the labelled trajectory; None writes none.
    jobs : int
        Worker processes; 1 works in this process. A script needs `if __name__ == "__main__":` before a call with
        more, since the processes are started afresh and read the script again.
    scheduler : str
        Address of a Dask scheduler, whose workers take the frames, or its scheduler file; input and output must lie
        where all workers see them.
    threads : int
        Threads of the network, of all jobs together; 0: all cores. With a scheduler, of each worker; 0: as many as Dask
        gave it.
    memory : str, optional
        Budget of each process for features, such as "500M".
    restart : bool
        Discard the frames of an interrupted run.
    force : bool
        Replace the results that another run left in `output`, instead of an error.
    atom_style : str
        Of a LAMMPS data file, such as "full", where it does not say so itself.
    columns : sequence of str or None
        Properties in the columns of a plain XYZ file or a dump: "Particle Type", "Position.X", ...; None for a column
        to leave out. () takes what the file says.
    progress : callable, optional
        Called with the `FrameRecord` of every frame as it is finished.
    **settings
        Parameters of `MacePhaseModifier`, such as `prior`, `denoise_steps` or `model`.

    Returns
    -------
    TrajectoryResult
        Summary of each frame; `columns()` is the table for pandas or polars, `fractions(key)` a phase over time.

    Raises
    ------
    InputError
        When the file, the first frame, or the settings cannot be used. A later frame that cannot be used ends the
        work: the frames before it are returned, with the reason in `fault`. A last frame that is incomplete is left
        out, with a note.
    OSError, OutputError
        When results cannot be written; finished frames are kept.
    WorkerLostError
        When workers end again and again; finished frames are kept.

    Examples
    --------
    >>> from ovito_mace_phase import classify_trajectory
    >>> result = classify_trajectory("sample_dumps/cu_melting.dump.gz", frames="0::6", prior="frame")
    >>> [round(x, 1) for x in result.fractions("FCC")]  # doctest: +SKIP
    [1.0, 0.6]
    """
    if "only_selected" in settings:
        raise InputError("only_selected is not used here; give the selection with select, such as 'ParticleType==1'")
    source = Path(file)
    check_input(source)
    wanted = _settings(settings)
    workers = Workers(jobs=jobs, scheduler=scheduler, threads=threads, memory=memory)
    with _folder(output) as folder:
        run = TrajectoryRun(
            source,
            output=folder,
            stem=input_stems([source])[0],
            frames=frames,
            select=select,
            settings=wanted,
            file_format=None if output is None else file_format,
            workers=workers,
            restart=restart,
            force=force,
            reader=reader_keywords(atom_style, columns),
        )
        with run:
            result = run.classify(None if output is None else run.table, progress)
            run.close()
    return result


def reader_keywords(atom_style: str, columns: Sequence[str | None]) -> tuple[tuple[str, Any], ...]:
    """Return what OVITO's reader is told about the file; nothing where the user says nothing."""
    given: dict[str, Any] = {"atom_style": atom_style, "columns": list(columns)}
    return tuple((name, value) for name, value in given.items() if value)


def _settings(parameters: dict[str, Any]) -> Settings:
    """Return the settings that parameters of the modifier stand for; TypeError for a name that is none."""
    given = dict(parameters)
    if "model_file" in given:
        warnings.warn("classify_trajectory(): the parameter 'model_file' is now 'model'", FutureWarning, stacklevel=3)
        given["model"] = given.pop("model_file")
    given = {
        name: value
        for name, value in given.items()
        if name in PARAMETERS or not check_parameter(name, value, PARAMETERS)
    }
    return from_parameters(given, get_table(given.get("model")))


@contextmanager
def _folder(output: str | Path | None) -> Iterator[Path]:
    if output is not None:
        yield output_folder(Path(output))
        return
    with tempfile.TemporaryDirectory(prefix="mace_phase_", ignore_cleanup_errors=True) as folder:
        yield Path(folder)
