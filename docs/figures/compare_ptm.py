"""Draw the picture of the README: sample dumps by Polyhedral Template Matching and by this package.

    python docs/figures/compare_ptm.py

OVITO renders the atoms (it needs a Vulkan driver, see docs/quickstart.md), matplotlib puts them together with legends.
"""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imread
from ovito.data import DataCollection
from ovito.io import import_file
from ovito.modifiers import PolyhedralTemplateMatchingModifier
from ovito.pipeline import Modifier, Pipeline, StaticSource
from ovito.vis import StandardRenderer, Viewport
from PIL import Image

from ovito_mace_phase import MacePhaseModifier, phase_table

HERE = Path(__file__).parent
DUMPS = HERE.parent.parent / "sample_dumps"
ROWS = (
    ("ti_alpha_omega.dump.gz", "Ti at 300 K: slabs of alpha (hcp) and omega"),
    ("cu_solid_liquid.dump.gz", "Cu at its melting temperature: melt and fcc crystal"),
)
LISTED = 4  # phases in a legend; the rest are added up
LEAST = 0.0005  # smaller shares would read 0.0 %
SIZE = (1500, 620)


def ptm() -> Modifier:
    """Return PTM as it is used by default, with every crystal it knows switched on."""
    modifier = PolyhedralTemplateMatchingModifier(rmsd_cutoff=0.1)
    for structure in modifier.structures:
        structure.enabled = structure.id != PolyhedralTemplateMatchingModifier.Type.GRAPHENE
    return modifier


def classified(file: Path, modifier: Modifier) -> DataCollection:
    """Return the first frame with the colours of its phases."""
    pipeline = import_file(file)
    pipeline.modifiers.append(modifier)
    return pipeline.compute(0)


def picture(data: DataCollection) -> npt.NDArray[np.float32]:
    """Render the atoms with z to the right, and cut off what is blank."""
    particles = data.particles_
    spacing = np.cbrt(data.cell.volume / particles.count)
    particles.vis.radius = 0.5 * spacing
    data.cell_.vis.line_width = 0.06 * spacing
    pipeline = Pipeline(source=StaticSource(data=data))
    pipeline.add_to_scene()
    try:
        viewport = Viewport(type=Viewport.Type.Ortho, camera_dir=(4.0, -1.2, -1.0), camera_up=(0.0, 1.0, 0.0))
        viewport.zoom_all(size=SIZE)
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / "atoms.png"
            viewport.render_image(
                filename=str(target), size=SIZE, background=(1.0, 1.0, 1.0), renderer=StandardRenderer()
            )
            pixels = imread(target)[..., :3]
    finally:
        pipeline.remove_from_scene()
    inked = (pixels < 0.99).any(axis=2)
    rows, columns = np.flatnonzero(inked.any(axis=1)), np.flatnonzero(inked.any(axis=0))
    return pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def shares(data: DataCollection, name: str) -> list[tuple[str, tuple[float, float, float], float]]:
    """Return name, colour and fraction of the phases with a share worth naming, most frequent first."""
    types = data.particles[name]
    values = np.asarray(types)
    found = [(_title(kind.id, kind.name), kind.color, float(np.mean(values == kind.id))) for kind in types.types]
    return sorted((entry for entry in found if entry[2] >= LEAST), key=lambda entry: -entry[2])


def _title(number: int, name: str) -> str:
    """Return PTM's name, which is short, for PTM's crystals; the others' keys are for programs."""
    return name if 1 <= number <= 8 else phase_table().by_id(number).name


def panel(axes: Axes, data: DataCollection, name: str) -> None:
    """Show the atoms, and below them the phases with their shares."""
    found = shares(data, name)
    axes.imshow(picture(data), interpolation="lanczos")
    axes.set_axis_off()
    for text, color, share in found[:LISTED]:
        axes.scatter([], [], s=55, color=[color], edgecolors="0.25", linewidths=0.5, label=f"{text} {share:.1%}")
    rest = sum(share for _, _, share in found[LISTED:])
    if rest:
        label = f"{len(found) - LISTED} more {rest:.1%}"
        axes.scatter([], [], s=0, label=label)
    axes.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, 0.0),
        ncols=3,
        fontsize=8.5,
        frameon=False,
        handletextpad=0.2,
        columnspacing=1.2,
    )


@click.command()
@click.option("-o", "--output", type=click.Path(path_type=Path), default=HERE / "compare_ptm.png", show_default=True)
def main(output: Path) -> None:
    """Write the picture."""
    figure = Figure(figsize=(10.0, 2.75 * len(ROWS)), layout="constrained")
    FigureCanvasAgg(figure)
    for number, (file, title) in enumerate(ROWS):
        for column, (method, name, modifier) in enumerate(
            (
                ("Polyhedral Template Matching, RMSD cutoff 0.1", "Structure Type", ptm()),
                ("MACE phase classification", "Phase", MacePhaseModifier()),
            )
        ):
            axes = figure.add_subplot(len(ROWS), 2, 2 * number + column + 1)
            panel(axes, classified(DUMPS / file, modifier), name)
            axes.set_title(f"{title}\n{method}", fontsize=9.5)
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=110, format="png")
    with Image.open(buffer) as image:  # 256 colours: a third of the size
        image.convert("RGB").quantize(256).save(output, optimize=True)


if __name__ == "__main__":
    main()
