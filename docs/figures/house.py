"""Draw the house: the folders of the package as rooms, one floor above what they import, from the imports themselves.

    python docs/figures/house.py        writes docs/figures/house.png

Rooms are the folders of the package and those in them; deeper ones belong to the room they are in. A room's width
grows with its lines. An arrow is left out where others lead to the same room; all go down, and a circle
ends the script with an error.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Rectangle

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tools"))
from import_graph import folder_of, import_graph, modules  # noqa: E402 - the folder is put on the path above

PACKAGE = HERE.parents[1] / "ovito_mace_phase"
WINGS = {"lab": "#f2e6d0", "model": "#d5e6f5", "classification": "#dcefdc", "plugin": "#eadcf2"}
DEPTH = 2  # folders within folders that have a room
_PLAIN = "#ececec"
_UNIT = 0.0085  # width of a room per square root of a line


def rooms() -> tuple[dict[str, int], dict[str, set[str]]]:
    """Return lines of every room, and the rooms that each imports."""
    files = modules(PACKAGE)
    known = {".".join(path.relative_to(PACKAGE).parent.parts[:DEPTH]) for path in files.values()} | {"", "__main__"}
    rooms_of = dict.fromkeys(known, "")
    lines: dict[str, int] = defaultdict(int)
    arrows: dict[str, set[str]] = defaultdict(set)
    for name, path in files.items():
        lines[folder_of(name, rooms_of)] += len(path.read_text(encoding="utf-8").splitlines())
    for name, targets in import_graph(PACKAGE).items():
        arrows[folder_of(name, rooms_of)] |= {folder_of(target, rooms_of) for target in targets}
    shown = {room: count for room, count in lines.items() if count and room not in ("", "__main__")}
    return shown, {room: {other for other in arrows[room] if other in shown and other != room} for room in shown}


def floors(arrows: dict[str, set[str]]) -> dict[str, int]:
    """Return the floor of every room: one above the highest that it imports."""
    found: dict[str, int] = {}
    while len(found) < len(arrows):
        free = [room for room in arrows if room not in found and arrows[room] <= set(found)]
        if not free:
            raise SystemExit(f"a circle of imports among {sorted(set(arrows) - set(found))}")
        for room in free:
            found[room] = 1 + max((found[other] for other in arrows[room]), default=0)
    return found


def reduced(arrows: dict[str, set[str]]) -> dict[str, set[str]]:
    """Return the arrows without those that a way through other rooms implies (transitive reduction)."""
    below: dict[str, set[str]] = {}

    def all_below(room: str) -> set[str]:
        if room not in below:
            below[room] = set(arrows[room]).union(*(all_below(other) for other in arrows[room]))
        return below[room]

    return {
        room: {one for one in found if not any(one in all_below(other) for other in found if other != one)}
        for room, found in arrows.items()
    }


def draw(path: Path) -> None:
    """Write the picture."""
    lines, arrows = rooms()
    level, arrows = floors(arrows), reduced(arrows)
    figure = Figure(figsize=(8.0, 0.8 * max(level.values()) + 0.3), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    centre: dict[str, tuple[float, float]] = {}
    for floor in sorted(set(level.values())):
        for part, left in ((False, 0.0), (True, 0.5)):  # run time on the left, the wing that makes models on the right
            row = sorted(room for room in lines if level[room] == floor and room.startswith("lab") is part)
            widths = [max(0.085, _UNIT * lines[room] ** 0.5 * 0.34) for room in row]
            gap = (0.5 - sum(widths)) / (len(row) + 1)
            x = left + gap
            for room, width in zip(row, widths, strict=True):
                centre[room] = (x + width / 2, floor)
                color = WINGS.get(room.partition(".")[0], _PLAIN)
                axes.add_patch(Rectangle((x, floor - 0.26), width, 0.52, facecolor=color, edgecolor="0.35", zorder=2))
                label = room.replace(".", "/\n", 1)
                axes.text(
                    x + width / 2, floor, f"{label}\n{lines[room]}", ha="center", va="center", fontsize=7, zorder=3
                )
                x += width + gap
    for room, below in arrows.items():
        for other in below:
            (x0, y0), (x1, y1) = centre[room], centre[other]
            style = {"arrowstyle": "-|>", "mutation_scale": 7, "linewidth": 0.5, "color": "0.55", "zorder": 1}
            curve = 0.12 if y0 - y1 > 1 else 0.0
            axes.add_patch(
                FancyArrowPatch((x0, y0 - 0.26), (x1, y1 + 0.26), connectionstyle=f"arc3,rad={curve}", **style)
            )
    axes.set_xlim(0, 1)
    axes.set_ylim(0.5, max(level.values()) + 0.5)
    axes.set_axis_off()
    figure.savefig(path, dpi=150, metadata={"Software": None})


if __name__ == "__main__":
    draw(HERE / "house.png")
    print(f"wrote {HERE / 'house.png'}")
