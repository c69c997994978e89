"""The model card as readable text: name, phases, accuracy, licence, citation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def card_text(card: Mapping[str, Any]) -> str:
    """Return the content of a model card, one line per entry; entries that are missing or invalid are left out.

    Parameters
    ----------
    card : mapping
        As `model.network.model_file.read_card` returns it.
    """
    phases, own = _list(card.get("phases")), _list(card.get("own_phases"))
    lines = [f"Model: {card.get('name', 'unnamed')}"]
    if phases:
        lines.append(f"Phases: {len(phases)}" + (f", {len(own)} of them your own" if own else ""))
    for part, entry in _mapping(card.get("scores")).items():
        accuracy = _mapping(entry).get("phase_accuracy")
        if isinstance(accuracy, int | float):
            lines.append(f"Accuracy ({part}): {100 * accuracy:.1f} %{_details(_mapping(entry))}")
    for key, field, what in (("original", "name", "Network"), ("training", "date", "Trained")):
        found = _mapping(card.get(key)).get(field)
        if found:
            lines.append(f"{what}: {found}")
    abilities = [what for key, what in (("noise_scale", "denoising"), ("distances", "distances")) if card.get(key)]
    lines.append(f"Also for: {', '.join(abilities) or 'labels only'}")
    lines.append(f"Licence: {card.get('licence', 'not stated')}")
    citations = _list(card.get("citation"))
    if citations:
        lines += ["Cite:", *(f"  {one}" for one in citations)]
    return "\n".join(lines)


def _list(entry: object) -> list[Any]:
    if isinstance(entry, str):
        return [entry]
    return list(entry) if isinstance(entry, list | tuple) else []


def _mapping(entry: object) -> Mapping[str, Any]:
    return entry if isinstance(entry, Mapping) else {}


def _details(entry: Mapping[str, Any]) -> str:
    """Return number of atoms and phases, and calibration error, where the card has them."""
    found = []
    for key, form in (("n_atoms", "{:,} atoms"), ("n_phases", "{:,} phases"), ("ece", "calibration error {:.3f}")):
        value = entry.get(key)
        if isinstance(value, int | float):
            found.append(form.format(value))
    return f" ({', '.join(found)})" if found else ""
