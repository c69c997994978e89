"""Pictures of atoms: rendered by OVITO in a separate process, or drawn flat where no renderer works.

OVITO renders through Vulkan; a machine without a driver raises an error, and a bad driver can take the process down
or let it hang. So the rendering runs apart, with a time limit, and its failure costs a note. `view` says from where,
`sheet` puts the pictures together.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

from .flat_picture import flat_picture
from .picture_colors import REST_COLOR, Color, legend_of
from .pictured_frames import caption
from .record import FrameAtoms
from .sheet import compose
from .summary import FrameSummary
from .view import DIRECTION, Float, View, view_of

if TYPE_CHECKING:
    from ovito.pipeline import Pipeline

RENDER_SECONDS = 180
_SECONDS_PER_FRAME = 20.0
_LINE = 1.8  # width of the edges of the cell, in pixels
FLAT = "drawn flat, not rendered"


def draw_sheet(
    path: Path,
    atoms: Callable[[int], FrameAtoms],
    frames: Sequence[tuple[FrameSummary, str]],
    colors: Mapping[str, Color],
    title: str,
) -> str:
    """Make one picture of some frames with captions and a legend, rendered if possible.

    Parameters
    ----------
    path : Path
        PNG file to write.
    atoms : callable
        From the number of a frame to its atoms.
    frames : sequence of (FrameSummary, str)
        To show, and what each is; see `pictured_frames.pictured`.
    colors : mapping of str to (red, green, blue)
        Phases by key, in the order of the legend.
    title : str

    Returns
    -------
    str
        Why it could not be rendered and was drawn flat, else "".
    """
    summaries = [summary for summary, _ in frames]
    with tempfile.TemporaryDirectory(prefix="mace_phase_") as name:
        folder = Path(name)
        reason = draw_frames(folder, lambda place: atoms(summaries[place].frame), len(frames), colors)
        files = [folder / f"{place}.png" for place in range(len(frames))]
        title = f"{title} ({FLAT})" if reason else title
        compose(path, files, [caption(*frame) for frame in frames], legend_of(summaries, colors), title)
    return reason


def draw_frames(folder: Path, atoms: Callable[[int], FrameAtoms], count: int, colors: Mapping[str, Color]) -> str:
    """Write frames 0 to `count` - 1 as `<k>.png`, all seen from one place; return why not rendered, or ""."""
    view = view_of(atoms(place) for place in range(count))
    for place in range(count):
        frame = atoms(place)
        store_atoms(folder / f"{place}.npz", frame, colors_of(frame, colors), view)
    reason = render_folder(folder, RENDER_SECONDS + _SECONDS_PER_FRAME * count)
    for place in range(count if reason else 0):
        frame = atoms(place)
        Image.fromarray(flat_picture(frame, colors_of(frame, colors), view)).save(folder / f"{place}.png")
    return reason


def colors_of(frame: FrameAtoms, colors: Mapping[str, Color]) -> Float:
    """Return the colours (n_atoms, 3) of the atoms of a frame, given those of the phases."""
    found = np.tile(np.array(REST_COLOR), (len(frame.phase), 1))
    for number, key, _ in frame.kinds:
        if key in colors:
            found[frame.phase == number] = colors[key]
    return found


def store_atoms(path: Path, frame: FrameAtoms, colors: Float, view: View) -> None:
    """Write atoms with their colours (n_atoms, 3), and where they are seen from, for `render_folder`."""
    np.savez(
        path,
        positions=frame.positions,
        colors=colors,
        cell=np.zeros(0) if frame.cell is None else frame.cell,
        view=np.array(json.dumps(dataclasses.asdict(view))),
    )


def render_folder(folder: Path, seconds: float) -> str:
    """Render `<k>.npz` of a folder to `<k>.png` in a subprocess, all seen from one place; return why not, or ""."""
    environment = {name: value for name, value in os.environ.items() if name != "QT_QPA_PLATFORM"}
    home = str(Path(__file__).resolve().parents[2])
    environment["PYTHONPATH"] = os.pathsep.join([home, *filter(None, [environment.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "ovito_mace_phase.trajectory.picture", str(folder)]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return f"rendering took longer than {seconds:.0f} s"
    if done.returncode or not all(path.with_suffix(".png").is_file() for path in folder.glob("*.npz")):
        return _reason(done.stderr, done.returncode)
    return ""


def _reason(stderr: str, status: int) -> str:
    if "Vulkan" in stderr:
        return "no working Vulkan driver (on Debian or Ubuntu: apt install libvulkan1 mesa-vulkan-drivers)"
    lines = [line for line in stderr.strip().splitlines() if line.strip()]
    return f"the renderer ended with status {status}" + (f": {lines[-1].strip()[:200]}" if lines else "")


def render(folder: Path) -> None:
    """Render the atoms stored in a folder to pictures (runs in the subprocess)."""
    from ovito.vis import StandardRenderer, Viewport

    for source in sorted(folder.glob("*.npz"), key=lambda path: int(path.stem)):
        with np.load(source) as stored:
            view = View(**json.loads(str(stored["view"])))
            pipeline = _scene(stored["positions"], stored["colors"], stored["cell"], view)
        pipeline.add_to_scene()
        viewport = Viewport(
            type=Viewport.Type.Ortho, camera_dir=DIRECTION, camera_pos=view.centre, fov=view.half_height
        )
        target, size = str(source.with_suffix(".png")), (view.size[0], view.size[1])
        viewport.render_image(filename=target, size=size, background=(1.0, 1.0, 1.0), renderer=StandardRenderer())
        pipeline.remove_from_scene()


def _scene(positions: npt.NDArray[np.floating], colors: Float, cell: npt.NDArray[np.float64], view: View) -> Pipeline:
    from ovito.data import DataCollection, SimulationCell
    from ovito.pipeline import Pipeline, StaticSource

    data = DataCollection()
    particles = data.create_particles(count=len(positions))
    particles.create_property("Position", data=positions)
    particles.create_property("Color", data=colors)
    particles.vis.radius = view.radius
    if cell.size:
        box = SimulationCell(pbc=(False, False, False))
        box[...] = cell
        data.objects.append(box)
        box.vis.line_width = _LINE * 2 * view.half_height / view.size[1]
    return Pipeline(source=StaticSource(data=data))


if __name__ == "__main__":
    render(Path(sys.argv[1]))
