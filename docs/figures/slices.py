"""Draw slices of crystals with boundaries: a polycrystal beside CNA and PTM, and the sites of a compound.

    python docs/figures/slices.py

`polycrystal.png`: a minimised polycrystal of copper (`lab/metal_defects.py`). `sites.png`: two grains
of the Laves phase C14, turned about their common c axis, seen along it, 0.05 A of noise. Flat dots: no graphics driver
is needed.
"""

from __future__ import annotations

import io
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from ovito.data import DataCollection, Particles
from ovito.modifiers import CommonNeighborAnalysisModifier, PolyhedralTemplateMatchingModifier
from ovito.pipeline import Modifier
from PIL import Image

from ovito_mace_phase import MacePhaseModifier, phase_table
from ovito_mace_phase.atoms.frame import Frame, make_frame
from ovito_mace_phase.lab.crystals import repeat
from ovito_mace_phase.lab.metal_defects import polycrystal
from ovito_mace_phase.lab.metals import METALS, minimised

HERE = Path(__file__).parent
SEED, WIDTH, GRAINS = 5, 22.0, 8
ANGLE = 26.0  # degrees between the two grains
SHOWN = {0: "Other", 1: "fcc", 2: "hcp", 3: "bcc", 4: "icosahedral"}
GREY = (0.82, 0.82, 0.82)


def applied(frame: Frame, modifier: Modifier) -> DataCollection:
    """Return the frame with what a modifier says of it."""
    data = DataCollection()
    data.objects.append(Particles())
    data.particles_.create_property("Position", data=frame.positions)
    types = data.particles_.create_property("Particle Type", data=frame.species + 1)
    for number, name in enumerate(frame.species_names):
        types.types.append(type_of(number + 1, name))
    pbc = tuple(bool(along) for along in frame.pbc)
    data.create_cell(np.column_stack([frame.cell.T, np.zeros(3)]), pbc=pbc)
    data.apply(modifier)
    return data


def type_of(number: int, name: str) -> object:
    """Return a particle type."""
    from ovito.data import ParticleType

    return ParticleType(id=number, name=name)


def dots(axes: Axes, points: npt.NDArray[np.float64], colors: npt.NDArray[np.float64], size: float) -> None:
    """Draw atoms seen along z, deep ones first."""
    order = np.argsort(points[:, 2])
    axes.scatter(*points[order, :2].T, s=size, c=colors[order], edgecolors="0.3", linewidths=0.25)
    axes.set_aspect("equal")
    axes.set_axis_off()


def colored(data: DataCollection, name: str) -> tuple[npt.NDArray[np.float64], dict[int, tuple[str, tuple, float]]]:
    """Return the colours of the atoms by a typed property, and name, colour and share of its types."""
    values = np.asarray(data.particles[name])
    kinds = {kind.id: (kind.name, kind.color, float((values == kind.id).mean())) for kind in data.particles[name].types}
    kinds[0] = (kinds[0][0], GREY, kinds[0][2])
    table = {number: kind[1] for number, kind in kinds.items()}
    return np.array([table[int(value)] for value in values]), kinds


def legend(axes: Axes, entries: list[tuple[str, tuple, float]]) -> None:
    """Show names and shares below the atoms."""
    for name, color, share in sorted(entries, key=lambda entry: -entry[2]):
        if share >= 0.0005:
            axes.scatter([], [], s=40, color=[color], edgecolors="0.3", linewidths=0.4, label=f"{name} {share:.1%}")
    axes.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, 0.01),
        ncols=4,
        fontsize=7.5,
        frameon=False,
        handletextpad=0.1,
        columnspacing=0.6,
    )


def saved(figure: Figure, path: Path) -> None:
    """Write the picture in 256 colours."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=110, format="png")
    with Image.open(buffer) as image:
        image.convert("RGB").quantize(256).save(path, optimize=True)


def draw_polycrystal(path: Path) -> None:
    """Draw one slice by three methods."""
    frame = polycrystal(METALS["Cu"], WIDTH, GRAINS, np.random.default_rng(SEED))
    frame = minimised(METALS["Cu"], frame)
    inside = frame.positions % np.diag(frame.cell)
    slab = np.abs(inside[:, 2] - frame.cell[2, 2] / 2) < 0.8 * METALS["Cu"].spacing
    ptm = PolyhedralTemplateMatchingModifier(rmsd_cutoff=0.1)
    figure = Figure(figsize=(10.5, 4.0), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (title, name, modifier) in zip(
        figure.subplots(1, 3),
        (
            ("Common neighbour analysis", "Structure Type", CommonNeighborAnalysisModifier()),
            ("PTM, RMSD cutoff 0.1", "Structure Type", ptm),
            ("MACE phase classification", "Phase", MacePhaseModifier()),
        ),
        strict=True,
    ):
        colors, kinds = colored(applied(frame, modifier), name)
        dots(axes, inside[slab], colors[slab], 26.0)
        axes.set_title(title, fontsize=9.5)
        legend(axes, [(SHOWN.get(number, name), *rest) for number, (name, *rest) in kinds.items()])
    saved(figure, path)


def bicrystal() -> Frame:
    """Return two grains of the Laves phase, open along x and y."""
    crystal = phase_table().by_key("LAVES_C14").reference
    rng = np.random.default_rng(SEED)
    cell, fractional, species = repeat(crystal.cell, crystal.fractional, crystal.species, (16, 16, 2))
    block = fractional @ cell
    block[:, :2] -= block[:, :2].mean(axis=0)
    grains, kinds = [], []
    for sign in (-1, 1):
        turn = np.deg2rad(sign * ANGLE / 2)
        axes = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        points = np.concatenate([block[:, :2] @ axes.T, block[:, 2:]], axis=1)
        kept = (sign * points[:, 0] > 0.45) & (abs(points[:, 0]) < 24.0) & (abs(points[:, 1]) < 15.0)
        grains.append(points[kept])
        kinds.append(species[kept])
    positions = np.concatenate(grains)
    positions += rng.normal(0.0, 0.05, positions.shape)
    box = np.diag([70.0, 50.0, cell[2, 2]])
    return make_frame(positions, np.concatenate(kinds), box, [False, False, True])


def draw_sites(path: Path) -> None:
    """Draw the sites beside the species."""
    frame = bicrystal()
    data = applied(frame, MacePhaseModifier(output_site=True))
    figure = Figure(figsize=(9.5, 3.3), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (name, title) in zip(
        figure.subplots(1, 2), (("Phase", "Phase"), ("Site", "Site of the phase")), strict=True
    ):
        colors, kinds = colored(data, name)
        dots(axes, frame.positions, colors, 12.0)
        axes.set_title(title, fontsize=9.5)
        legend(axes, list(kinds.values()))
    saved(figure, path)


@click.command()
@click.option("-o", "--output", type=click.Path(path_type=Path), default=HERE, show_default=True)
def main(output: Path) -> None:
    """Write the two pictures into a folder."""
    draw_polycrystal(output / "polycrystal.png")
    draw_sites(output / "sites.png")


if __name__ == "__main__":
    main()
