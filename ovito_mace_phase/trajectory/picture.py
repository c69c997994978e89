"""Pictures of atoms, `frame.png`: rendered by OVITO in a separate process, or drawn flat where no renderer works.

OVITO renders through Vulkan; a machine without a driver raises an error, and a bad driver can take the process down
or let it hang. So the rendering runs apart, with a time limit, and its failure costs a note.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .flat_picture import MOST, plot_atoms

if TYPE_CHECKING:
    from ovito.pipeline import Pipeline
    from ovito.vis import ColorLegendOverlay

RENDER_SECONDS = 180
_SIZE = (1080, 720)
Kinds = Sequence[tuple[int, str, tuple[float, float, float]]]


def draw_atoms(
    path: Path,
    positions: npt.NDArray[np.floating],
    phase: npt.NDArray[np.int32],
    cell: npt.NDArray[np.float64] | None,
    kinds: Kinds,
    title: str,
) -> str:
    """Make the picture of one frame, rendered if possible.

    Parameters
    ----------
    path : Path
        PNG file to write.
    positions : (n_atoms, 3) float
    phase : (n_atoms,) int32
    cell : (3, 4) float64 or None
        As OVITO has it: vectors and origin in columns.
    kinds : sequence of (id, key, colour)
        Phases that occur, in the order of the legend.
    title : str

    Returns
    -------
    str
        A note for the user when it could not be rendered and was drawn flat, else "".
    """
    with tempfile.TemporaryDirectory(prefix="mace_phase_") as folder:
        store_atoms(Path(folder) / "0.npz", positions, phase, cell, kinds)
        reason = render_folder(Path(folder), RENDER_SECONDS)
        if not reason:
            path.write_bytes((Path(folder) / "0.png").read_bytes())
    if reason:
        plot_atoms(path, positions, phase, kinds, f"{title} (flat projection, not rendered)")
    return reason


def store_atoms(
    path: Path,
    positions: npt.NDArray[np.floating],
    phase: npt.NDArray[np.int32],
    cell: npt.NDArray[np.float64] | None,
    kinds: Kinds,
) -> None:
    """Write the atoms of a picture, and the phases of its legend, for `render_folder`."""
    np.savez(
        path,
        positions=positions,
        phase=phase,
        cell=np.zeros(0) if cell is None else cell,
        kinds=np.array(json.dumps(kinds)),
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
    """Render the atoms stored in a folder to pictures, all seen from one place (runs in the subprocess)."""
    from ovito.vis import StandardRenderer, Viewport

    viewport = None
    radius = 0.0
    for source in sorted(folder.glob("*.npz"), key=lambda path: int(path.stem)):
        with np.load(source) as stored:
            positions, phase, cell = stored["positions"], stored["phase"], stored["cell"]
            kinds = [(int(number), str(key), tuple(color)) for number, key, color in json.loads(str(stored["kinds"]))]
        radius = radius or _display_radius(positions)
        pipeline = _scene(positions, phase, cell, kinds, radius)
        pipeline.add_to_scene()
        if viewport is None:
            viewport = Viewport(type=Viewport.Type.Ortho, camera_dir=(2.0, 4.0, -1.6))
            viewport.zoom_all(size=_SIZE)
            viewport.fov *= 1.1
        viewport.overlays.clear()
        viewport.overlays.append(_legend(pipeline, len(kinds[:MOST])))
        target = str(source.with_suffix(".png"))
        viewport.render_image(filename=target, size=_SIZE, background=(1.0, 1.0, 1.0), renderer=StandardRenderer())
        pipeline.remove_from_scene()


def _scene(
    positions: npt.NDArray[np.floating],
    phase: npt.NDArray[np.int32],
    cell: npt.NDArray[np.float64],
    kinds: Kinds,
    radius: float,
) -> Pipeline:
    from ovito.data import DataCollection, ElementType, SimulationCell
    from ovito.pipeline import Pipeline, StaticSource

    data = DataCollection()
    particles = data.create_particles(count=len(positions))
    particles.create_property("Position", data=positions)
    typed = particles.create_property("Phase", data=phase)
    colors = np.full((len(phase), 3), 0.6)
    for number, key, color in kinds:
        colors[phase == number] = color
        if len(typed.types) < MOST:
            typed.types.append(ElementType(id=number, name=key, color=color))
    particles.create_property("Color", data=colors)
    particles.vis.radius = radius
    if cell.size:
        box = SimulationCell(pbc=(False, False, False))
        box[...] = cell
        data.objects.append(box)
        box.vis.line_width = 0.15 * radius
    return Pipeline(source=StaticSource(data=data))


def _legend(pipeline: Pipeline, n_phases: int) -> ColorLegendOverlay:
    from ovito.qt_compat import QtCore
    from ovito.vis import ColorLegendOverlay

    size = 0.045 * max(n_phases, 1)
    return ColorLegendOverlay(
        property="particles/Phase",
        pipeline=pipeline,
        caption="Phase",
        label_size=0.9,
        orientation=QtCore.Qt.Orientation.Vertical,
        aspect_ratio=n_phases,
        legend_size=size,
        font_size=0.024 / size,
        border_enabled=True,
        offset_x=0.01,
        offset_y=-0.07,
        alignment=QtCore.Qt.AlignmentFlag.AlignLeft | QtCore.Qt.AlignmentFlag.AlignTop,
    )


def _display_radius(positions: npt.NDArray[np.floating]) -> float:
    """Half of a typical nearest distance, so that neighbours nearly touch in whatever unit the file has."""
    from ovito.data import DataCollection, NearestNeighborFinder

    if len(positions) < 2:
        return 1.0
    data = DataCollection()
    data.create_particles(count=len(positions)).create_property("Position", data=positions)
    some = [int(index) for index in np.linspace(0, len(positions) - 1, min(len(positions), 500))]
    _, vectors = NearestNeighborFinder(1, data).find_all(some)
    return 0.5 * float(np.median(np.linalg.norm(vectors[:, 0], axis=1)))


if __name__ == "__main__":
    render(Path(sys.argv[1]))
