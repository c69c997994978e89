"""Bad input gives one sentence that names the problem and the remedy, loses nothing, and can be repaired on the spot.

Odd but honest input, which works: `test_odd_inputs.py`.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import re
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from fake_model import N_SLOTS, SPLIT, install
from our_threads import threads_at_work
from ovito.data import DataCollection
from pipelines import collection, copper, fcc, pipeline
from traits.api import TraitError

from ovito_mace_phase import MacePhaseModifier
from ovito_mace_phase.model.registry import SHIPPED
from ovito_mace_phase.runtime.errors import InputError, MissingPackageError, ModelFileError

REFUSED = (InputError, ModelFileError, TraitError, TypeError)
POSITIONS, CELL = fcc()
N_ATOMS = len(POSITIONS)


@dataclass(kw_only=True)
class Bad:
    """One bad input.

    `problem` and `remedy` are patterns that the message must hold; `data` makes the collection, `parameters` are those
    of the modifier, `files` damages a copy of the shipped model, which is then the model file.
    """

    name: str
    problem: str
    remedy: str
    parameters: dict[str, Any] = field(default_factory=dict)
    data: Callable[[], DataCollection] | None = None
    files: Callable[[Any], None] | None = None


def good() -> DataCollection:
    return collection(POSITIONS, CELL, types=np.ones(N_ATOMS), names={1: "Cu"})


def moved(atom: int, to: Any) -> Callable[[], DataCollection]:
    def make():
        places = POSITIONS.copy()
        places[atom] = to
        return collection(places, CELL, types=np.ones(N_ATOMS))

    return make


def boxed(change: Callable[[np.ndarray], None]) -> Callable[[], DataCollection]:
    def make():
        cell = CELL.copy()
        change(cell)
        return collection(POSITIONS, cell, types=np.ones(N_ATOMS))

    return make


def set_row(row: int, value: Any) -> Callable[[np.ndarray], None]:
    def change(cell):
        cell[row] = value

    return change


def typed(types: Any, names: dict[int, str] | None = None) -> Callable[[], DataCollection]:
    return lambda: collection(POSITIONS, CELL, types=types, names=names)


def untyped() -> DataCollection:
    return collection(POSITIONS, CELL)


def numbers_file(change: Callable[[bytes], bytes], *, checksum: bool = False) -> Callable[[Any], None]:
    """Change the safetensors file; with `checksum` the card is made to fit, as a faulty program would."""

    def damage(path):
        blob = change(path.read_bytes())
        path.write_bytes(blob)
        if checksum:
            edit_card(sha256=hashlib.sha256(blob).hexdigest())(path)

    return damage


def card_file(text: bytes) -> Callable[[Any], None]:
    return lambda path: path.with_suffix(".json").write_bytes(text)


def edit_card(**changes: Any) -> Callable[[Any], None]:
    def damage(path):
        card = json.loads(path.with_suffix(".json").read_text())
        for key, value in changes.items():
            if value is None:
                del card[key]
            else:
                card[key] = value
        path.with_suffix(".json").write_text(json.dumps(card))

    return damage


def foreign_tensors(path):
    from safetensors.numpy import save

    numbers_file(lambda _: save({"weight": np.zeros((3, 3), dtype=np.float32)}), checksum=True)(path)
    edit_card(tensors={}, network=None)(path)


def as_folder(path):
    path.unlink()
    path.mkdir()


class Bomb:
    """Unpickling this fails the test."""

    def __reduce__(self):
        return pytest.fail, ("a model file was unpickled",)


SETTINGS = {"problem": "structure_settings", "remedy": r"modifier\.structures|capitals|near|phases --grep"}
CARD = "copy both files|[Cc]opy the file again|Copy it again|convert or train|made by|this program made"

ATOMS = [
    Bad(name="no particles", problem="no particles", remedy="load a file", data=DataCollection),
    Bad(name="NaN position", problem="NaN.*index 5", remedy="remove these atoms", data=moved(5, np.nan)),
    Bad(name="infinite position", problem="infinite.*index 9", remedy="repair the file", data=moved(9, np.inf)),
    Bad(name="position beyond all bounds", problem="position|place", remedy="remove|repair", data=moved(3, 1e200)),
    Bad(name="equal cell vectors", problem="degenerate", remedy="three independent", data=boxed(set_row(1, CELL[0]))),
    Bad(name="zero cell vector", problem="degenerate", remedy="switch off period", data=boxed(set_row(2, 0.0))),
    Bad(name="flat cell", problem="degenerate", remedy="independent", data=boxed(set_row(2, CELL[0] + CELL[1]))),
    Bad(name="NaN in the cell", problem="cell", remedy="finite", data=boxed(set_row(1, np.nan))),
    Bad(name="infinite cell", problem="cell", remedy="finite", data=boxed(set_row(0, np.inf))),
    Bad(
        name="more species than slots",
        problem=f"{N_SLOTS + 1} species",
        remedy="`species`",
        parameters={"species": "by name"},
        data=typed(np.arange(N_ATOMS) % (N_SLOTS + 1) + 1),
    ),
    Bad(
        name="types wanted, none there",
        problem="have none",
        remedy="on auto",
        parameters={"species": "1,2"},
        data=untyped,
    ),
    Bad(name="selection is missing", problem="selection", remedy="insert", parameters={"only_selected": True}),
]
PARAMETERS = [
    Bad(name="unknown species", problem="'9'", remedy="leave species on auto", parameters={"species": "1,9"}),
    Bad(
        name="species twice",
        problem="twice",
        remedy="once",
        parameters={"species": "A,B B"},
        data=typed(np.arange(N_ATOMS) % 2 + 1, {1: "A", 2: "B"}),
    ),
    Bad(name="negative length", problem="length_scale", remedy="positive", parameters={"length_scale": -1.0}),
    Bad(name="zero length", problem="length_scale", remedy="positive", parameters={"length_scale": 0.0}),
    Bad(name="NaN length", problem="length_scale.*nan", remedy="positive", parameters={"length_scale": np.nan}),
    Bad(name="infinite length", problem="length_scale.*inf", remedy="positive", parameters={"length_scale": np.inf}),
    Bad(name="phase misspelled", problem="'FFC'", remedy="near matches: .*FCC", parameters={"phases": "FFC"}),
    Bad(name="phase unheard of", problem="QQQQQ", remedy="phases --grep", parameters={"phases": "FCC,QQQQQ"}),
    Bad(name="only Other", problem="no phase is left", remedy="name at least one", parameters={"phases": "OTHER"}),
    Bad(name="score misspelled", problem="HPC", remedy="near.*HCP", parameters={"order_parameters": "HPC"}),
    Bad(
        name="threshold",
        problem="confidence_threshold",
        remedy="0.0 <=.*<= 1.0",
        parameters={"confidence_threshold": 2.0},
    ),
    Bad(name="prior", problem="prior", remedy="'local' or 'uniform' or 'frame'", parameters={"prior": "flat"}),
    Bad(name="device", problem="device", remedy="'auto' or 'cpu' or 'cuda'", parameters={"device": "tpu"}),
    Bad(name="steps", problem="denoise_steps", remedy="0 <=.*<= 1000", parameters={"denoise_steps": -1}),
    Bad(name="type of a value", problem="species", remedy="a string", parameters={"species": 3}),
    Bad(name="output like", problem="compatibility", remedy="'none' or 'PTM'", parameters={"compatibility": "ptm"}),
    Bad(name="name misspelled", problem="thershold", remedy="did you mean", parameters={"confidence_thershold": 0.5}),
    Bad(name="name of PTM", problem="output_ordering", remedy="phases", parameters={"output_ordering": True}),
    Bad(name="cutoff", problem="rmsd_cutoff", remedy="0.0 <=.*<= 1.0", parameters={"rmsd_cutoff": 1.5}),
    Bad(name="verify", problem="verify", remedy="'auto' or 'off'", parameters={"verify": "on"}),
    Bad(name="defects", problem="defects", remedy="'other' or 'phase'", parameters={"defects": "keep"}),
    Bad(
        name="output without templates",
        problem="output_site",
        remedy="verify='auto'",
        parameters={"verify": "off", "output_site": True},
    ),
    Bad(name="settings: no JSON", **SETTINGS, parameters={"structure_settings": "{"}),
    Bad(name="settings: a list", **SETTINGS, parameters={"structure_settings": "[1]"}),
    Bad(name="settings: deep", **SETTINGS, parameters={"structure_settings": "[" * 10**5}),
    Bad(name="settings: colour", **SETTINGS, parameters={"structure_settings": '{"FCC": {"color": [1]}}'}),
    Bad(name="settings: switch", **SETTINGS, parameters={"structure_settings": '{"FCC": {"enabled": "no"}}'}),
    Bad(name="settings: Other off", **SETTINGS, parameters={"structure_settings": '{"OTHER": {"enabled": false}}'}),
    Bad(
        name="settings: small letters",
        **SETTINGS | {"remedy": "write the key, 'FCC'"},
        parameters={"structure_settings": '{"fcc": {}}'},
    ),
    Bad(name="settings: phase", problem="QQQQQ", remedy="--grep", parameters={"structure_settings": '{"QQQQQ": {}}'}),
]
FILES = [
    Bad(name="no such file", problem="no_such_model", remedy="empty", parameters={"model": "no_such_model"}),
    Bad(name="numbers missing", problem=r"mine\.safetensors", remedy="pair of files", files=lambda path: path.unlink()),
    Bad(
        name="card missing",
        problem=r"mine\.json",
        remedy="pair of files",
        files=lambda path: path.with_suffix(".json").unlink(),
    ),
    Bad(name="folder", problem=r"mine\.safetensors.*directory", remedy="pair of files", files=as_folder),
    Bad(name="empty", problem="damaged", remedy="Copy both", files=numbers_file(lambda _: b"")),
    Bad(name="truncated", problem="damaged", remedy="Copy both", files=numbers_file(lambda blob: blob[:100_000])),
    Bad(
        name="one bit", problem="sha256", remedy="Copy both", files=numbers_file(lambda b: b[:-1] + bytes([b[-1] ^ 1]))
    ),
    Bad(name="wrong checksum", problem="damaged", remedy="Copy both", files=edit_card(sha256="0" * 64)),
    Bad(name="no checksum", problem="damaged", remedy="Copy both", files=edit_card(sha256=None)),
    Bad(
        name="pickle renamed",
        problem="not a safetensors file",
        remedy="Copy it again",
        files=numbers_file(lambda _: pickle.dumps(Bomb()), checksum=True),
    ),
    Bad(name="pickle as card", problem="not a model card", remedy="Copy", files=card_file(pickle.dumps(Bomb()))),
    Bad(
        name="foreign safetensors", problem="no usable phase head|network|lacks", remedy="train", files=foreign_tensors
    ),
    Bad(name="JSON garbage", problem="no valid JSON", remedy="Copy the file again", files=card_file(b"{]")),
    Bad(name="deep JSON", problem="no valid JSON", remedy="Copy the file again", files=card_file(b"[" * 10**5)),
    Bad(name="JSON of another program", problem="not a model card", remedy=CARD, files=card_file(b'{"a": 1}')),
    Bad(name="newer format", problem="format version 99", remedy="upgrade", files=edit_card(format_version=99)),
    Bad(name="no head", problem="head", remedy="train a head", files=edit_card(head=None)),
    Bad(name="no network", problem="network", remedy=CARD, files=edit_card(network=None)),
    Bad(name="phases are no list", problem="phases", remedy=CARD, files=edit_card(phases=3)),
    Bad(
        name="unknown phase in the card", problem="phases", remedy="upgrade|copy", files=edit_card(phases=["QQ"] * 532)
    ),
    Bad(name="phase left out", problem="1 phases", remedy=CARD, files=edit_card(phases=["OTHER"])),
    Bad(name="own phases", problem="own_phases", remedy=CARD, files=edit_card(own_phases=[{"id": 1}])),
    Bad(name="calibration", problem="calibration", remedy=CARD, files=edit_card(calibration={"temperature": "hot"})),
    Bad(name="zero temperature", problem="calibration", remedy=CARD, files=edit_card(calibration={"temperature": 0})),
    Bad(
        name="distances",
        problem="distances",
        remedy=CARD,
        parameters={"distances": True, "order_parameters": "FCC"},
        files=edit_card(distances={"FCC": "far"}),
    ),
]
TABLE = [*ATOMS, *PARAMETERS, *FILES]


def test_fifty_at_least():
    assert len(TABLE) >= 50
    assert len({bad.name for bad in TABLE}) == len(TABLE)


@pytest.mark.parametrize("bad", TABLE, ids=lambda bad: bad.name)
def test_bad_input(bad, monkeypatch, tmp_path):
    stand_in = bad.files is None and "model" not in bad.parameters
    if stand_in:
        install(monkeypatch)
    parameters = dict(bad.parameters)
    if bad.files is not None:
        for suffix in (".json", ".safetensors"):
            shutil.copy(SHIPPED.with_suffix(suffix), tmp_path / f"mine{suffix}")
        bad.files(tmp_path / "mine.safetensors")
        parameters["model"] = str(tmp_path / "mine.safetensors")
    modifier = MacePhaseModifier()
    source = (bad.data or good)()
    line = pipeline(source, modifier)
    before = snapshot(source)
    with pytest.raises(REFUSED) as caught:
        change_and_compute(line, modifier, parameters)
    message = str(caught.value)
    assert matches(bad.problem, message), message
    assert matches(bad.remedy, message), message
    assert len(message) < 1200
    assert snapshot(source) == before
    assert threads_at_work() == []
    for name in parameters:  # repaired
        if name in DEFAULTS:
            setattr(modifier, name, DEFAULTS[name])
    if bad.data is not None:
        line.source.data = good()
    n_fcc = (POSITIONS[:, 0] < SPLIT).sum() if stand_in else N_ATOMS
    assert line.compute().attributes["MacePhase.counts.FCC"] == n_fcc


DEFAULTS = {
    name: getattr(MacePhaseModifier(), name) for name in (*MacePhaseModifier().visible_traits(), "structure_settings")
}


def change_and_compute(line, modifier, parameters):
    for name, value in parameters.items():
        if name in DEFAULTS:
            setattr(modifier, name, value)
        else:
            MacePhaseModifier(**{name: value})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        line.compute()


def matches(pattern: str, message: str) -> bool:
    return re.search(pattern, message, re.S) is not None


def snapshot(data: DataCollection) -> bytes:
    """All that the input holds, as bytes; NaN equals itself there."""
    parts = [repr(sorted(data.attributes.items())).encode(), repr(sorted(data.tables)).encode()]
    if data.particles is not None:
        for name in sorted(data.particles.keys()):
            parts += [name.encode(), np.asarray(data.particles[name]).tobytes()]
    if data.cell is not None:
        parts.append(np.asarray(data.cell[...]).tobytes())
    return hashlib.sha256(b"|".join(parts)).digest()


@pytest.mark.parametrize("which", ["QQQQQ", 99_999_999])
def test_unknown_structure(which):
    with pytest.raises(InputError, match=r"phases --grep|nearest ids"):
        _ = MacePhaseModifier().structures[which]


@pytest.mark.parametrize("color", ["red", None, (255, 0, 0), (1, 0), (np.nan, 0, 0), 3])
def test_bad_colour_leaves_the_old_one(color):
    modifier = MacePhaseModifier()
    before = modifier.structures["FCC"].color
    with pytest.raises(InputError, match="three numbers from 0 to 1"):
        modifier.structures["FCC"].color = color
    assert modifier.structures["FCC"].color == before
    assert modifier.structure_settings == ""


def test_fault_of_the_model_keeps_its_type(monkeypatch):
    fake = install(monkeypatch)

    def broken(*args, **keywords):
        raise ModelFileError("checksum differs")

    monkeypatch.setattr(fake, "stream_logits", broken)
    with pytest.raises(ModelFileError, match="checksum"):
        copper(MacePhaseModifier()).compute()


def test_missing_package_names_the_command(monkeypatch):
    from ovito_mace_phase.model.phase_model import PhaseModel

    def without_torch(*args, **keywords):
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr(PhaseModel, "load", without_torch)
    with pytest.raises(MissingPackageError, match="ovitos -m pip install --user torch"):
        copper(MacePhaseModifier(device="cpu", model=str(SHIPPED))).compute()
