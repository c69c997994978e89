"""Draw panel.png: the parameters of the modifier as its panel groups them, from its own definitions.

    python docs/figures/panel.py

OVITO Pro builds the panel from the same definitions; how it looks there was not seen, so this is a drawing of the list.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.patches import FancyBboxPatch, Rectangle

from ovito_mace_phase import MacePhaseModifier
from ovito_mace_phase.plugin.modifier import parameter_names

HERE = Path(__file__).parent
TITLE = "MACE phase classification"
ROW, GAP, WIDTH = 0.30, 0.20, 4.6  # inches
FIELD = 2.55  # where the fields begin


def groups() -> dict[str, list[tuple[str, str, str]]]:
    """Return group -> (label, kind of field, what it shows) of the parameters, in the order of the definitions."""
    modifier = MacePhaseModifier()
    traits = modifier.traits()
    found: dict[str, list[tuple[str, str, str]]] = {}
    for name in parameter_names():
        trait = traits[name]
        found.setdefault(trait.ovito_group or "", []).append((trait.label, *_field(trait, getattr(modifier, name))))
    for trait in traits.values():
        if type(trait.trait_type).__name__ == "Button":
            found.setdefault(trait.ovito_group or "", []).append((trait.ovito_label, "button", ""))
    return found


def _field(trait: Any, value: Any) -> tuple[str, str]:
    kind = type(trait.trait_type).__name__
    if kind == "Bool":
        return "check", "x" if value else ""
    if kind == "Enum":
        others = [choice for choice in trait.trait_type.values if choice != value]
        return "choice", " / ".join([value, *others])
    if kind == "Union":
        return "number", "off" if value is None else f"{value:g}"
    if kind in ("BaseRange", "Range", "Float"):
        return "number", f"{value:g}"
    return ("file" if kind == "FilePath" else "text"), str(value) or f"({trait.ovito_placeholder or 'empty'})"


def draw(path: Path) -> None:
    """Draw all groups below each other."""
    listed = groups()
    height = 0.55 + sum(ROW * len(rows) + 0.34 + GAP for rows in listed.values()) + 0.25
    figure = plt.figure(figsize=(WIDTH, height), dpi=130)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, WIDTH), ylim=(height, 0))
    axes.axis("off")
    axes.add_patch(Rectangle((0, 0), WIDTH, height, color="#f3f3f3"))
    axes.add_patch(Rectangle((0, 0), WIDTH, 0.36, color="#c9d6e8"))
    axes.text(0.12, 0.18, TITLE, va="center", size=10, weight="bold")
    top = 0.5
    for title, rows in listed.items():
        box = 0.28 + ROW * len(rows) + 0.06
        axes.add_patch(Rectangle((0.1, top), WIDTH - 0.2, box, facecolor="white", edgecolor="#b0b0b0", lw=0.8))
        axes.text(0.2, top + 0.15, title, va="center", size=8, weight="bold", color="#3a5a8a")
        for number, row in enumerate(rows):
            _draw_row(axes, top + 0.28 + ROW * (number + 0.5), *row)
        top += box + GAP
    axes.text(
        0.12, height - 0.14, "Drawn from the parameter list, not a screenshot", va="center", size=7, style="italic"
    )
    figure.savefig(path)
    plt.close(figure)


def _draw_row(axes: Any, middle: float, label: str, kind: str, text: str) -> None:
    style: dict[str, Any] = {"facecolor": "white", "edgecolor": "#808080", "lw": 0.8}
    if kind == "check":
        axes.add_patch(Rectangle((0.22, middle - 0.07), 0.14, 0.14, **style))
        axes.text(0.29, middle, text, va="center", ha="center", size=8, weight="bold")
        axes.text(0.44, middle, label, va="center", size=8)
        return
    if kind == "button":
        style["facecolor"] = "#e4e4e4"
        button = FancyBboxPatch((0.22, middle - 0.1), FIELD, 0.2, boxstyle="round,pad=0,rounding_size=0.03", **style)
        axes.add_patch(button)
        axes.text(0.22 + FIELD / 2, middle, label, va="center", ha="center", size=8)
        return
    axes.text(0.22, middle, f"{label}:", va="center", size=8)
    width = WIDTH - 0.2 - FIELD
    box = FancyBboxPatch((FIELD, middle - 0.1), width, 0.2, boxstyle="round,pad=0,rounding_size=0.03", **style)
    axes.add_patch(box)
    color = "#808080" if text.startswith("(") or text == "off" else "black"
    axes.text(FIELD + 0.07, middle, text, va="center", size=7.5, color=color)
    sign = {"choice": "v", "number": "+/-", "file": "..."}.get(kind, "")
    axes.text(FIELD + width - 0.06, middle, sign, va="center", ha="right", size=7, color="#505050")


if __name__ == "__main__":
    draw(HERE / "panel.png")
