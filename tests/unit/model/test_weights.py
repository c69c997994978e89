"""Model files: what is written is read back, and nothing damaged or foreign is accepted."""

from __future__ import annotations

import json
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from tiny_network import SIZES

from ovito_mace_phase.model.network.model_file import (
    FORMAT_VERSION,
    NetworkConfig,
    load_model,
    model_paths,
    save_model,
    tensor_shapes,
)
from ovito_mace_phase.runtime.errors import ModelFileError

CONFIG = NetworkConfig(
    r_max=6.0,
    n_bessel=10,
    cutoff_p=5,
    n_channels=4,
    l_max=3,
    correlation=3,
    n_layers=2,
    avg_num_neighbors=61.9,
    elements=(1, 29),
    radial_hidden=(8, 8),
)


@pytest.fixture
def tensors() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    shapes = {name: [SIZES.get(size, size) for size in shape] for name, shape in tensor_shapes(CONFIG).items()}
    found = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    for nu in (1, 2, 3):
        found[f"basis.{nu}.monomials"] = np.zeros(shapes[f"basis.{nu}.monomials"], dtype=np.uint8)
    return found


@pytest.fixture
def model(tmp_path: Path, tensors: dict[str, np.ndarray]) -> Path:
    path = tmp_path / "folder" / "name.v1"
    save_model(path, tensors | {"head.weight": np.ones((3, 2), dtype=np.float32)}, {"network": CONFIG.to_card()})
    return path


def edit_card(path: Path, **changes: object) -> None:
    card_path = model_paths(path)[1]
    card_path.write_text(json.dumps(json.loads(card_path.read_text()) | changes))


@pytest.mark.parametrize("suffix", ["", ".safetensors", ".json"])
def test_round_trip(model: Path, tensors: dict[str, np.ndarray], suffix: str) -> None:
    found, card = load_model(str(model) + suffix)
    assert NetworkConfig.from_card(card) == CONFIG
    assert found.keys() == tensors.keys() | {"head.weight"}
    for name, array in tensors.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)
    assert card["tensors"]["head.weight"] == [3, 2]
    assert sorted(p.name for p in model.parent.iterdir()) == ["name.v1.json", "name.v1.safetensors"]


def test_saving_a_loaded_model_again(model: Path, tmp_path: Path) -> None:
    found, card = load_model(model)
    save_model(tmp_path / "again", found, card)
    assert load_model(tmp_path / "again")[1] == card
    assert model_paths(tmp_path / "again")[0].read_bytes() == model_paths(model)[0].read_bytes()


def test_model_without_network(tmp_path: Path) -> None:
    save_model(tmp_path / "head", {"w": np.zeros(3)}, {"note": "å"})
    assert load_model(tmp_path / "head")[1]["note"] == "å"


def test_failed_save_leaves_the_old_file(model: Path, tensors: dict[str, np.ndarray]) -> None:
    before = model_paths(model)[0].read_bytes()
    del tensors["embedding"]
    with pytest.raises(ModelFileError, match="embedding"):
        save_model(model, tensors, {"network": CONFIG.to_card()})
    assert model_paths(model)[0].read_bytes() == before
    load_model(model)


@pytest.mark.parametrize("which", [0, 1])
def test_missing_file(model: Path, which: int) -> None:
    lost = model_paths(model)[which]
    lost.unlink()
    with pytest.raises(ModelFileError, match=f"{lost.name}.*pair of files"):
        load_model(model)


@pytest.mark.parametrize("place", [3, 200, -1])
def test_changed_byte(model: Path, place: int) -> None:
    numbers_path = model_paths(model)[0]
    blob = bytearray(numbers_path.read_bytes())
    blob[place] ^= 1
    numbers_path.write_bytes(blob)
    with pytest.raises(ModelFileError, match=r"damaged.*sha256"):
        load_model(model)


@pytest.mark.parametrize("kept", [0, 5, 1000])
def test_truncated(model: Path, kept: int) -> None:
    numbers_path = model_paths(model)[0]
    numbers_path.write_bytes(numbers_path.read_bytes()[:kept])
    with pytest.raises(ModelFileError, match="damaged"):
        load_model(model)


class Bomb:
    """Unpickling this fails the test."""

    def __reduce__(self) -> tuple:
        return pytest.fail, ("a model file was unpickled",)


@pytest.mark.parametrize("checksum_fits", [False, True])
def test_pickle_is_never_opened(model: Path, checksum_fits: bool) -> None:
    import hashlib

    blob = pickle.dumps(Bomb())
    model_paths(model)[0].write_bytes(blob)
    if checksum_fits:
        edit_card(model, sha256=hashlib.sha256(blob).hexdigest())
    with pytest.raises(ModelFileError, match="not a safetensors file" if checksum_fits else "damaged"):
        load_model(model)
    model_paths(model)[1].write_bytes(blob)
    with pytest.raises(ModelFileError, match="not a model card"):
        load_model(model)


@pytest.mark.parametrize("header", [struct.pack("<Q", 2**63), b"", struct.pack("<Q", 8) + b"notjson!"])
def test_malformed_header(model: Path, header: bytes) -> None:
    import hashlib

    model_paths(model)[0].write_bytes(header)
    edit_card(model, sha256=hashlib.sha256(header).hexdigest())
    with pytest.raises(ModelFileError, match="not a safetensors file"):
        load_model(model)


def test_newer_version(model: Path) -> None:
    edit_card(model, format_version=FORMAT_VERSION + 1)
    with pytest.raises(ModelFileError, match="upgrade ovito-mace-phase"):
        load_model(model)


@pytest.mark.parametrize("changes", [{"format": "other"}, {"format_version": None}, {"format_version": "1"}])
def test_foreign_card(model: Path, changes: dict[str, object]) -> None:
    edit_card(model, **changes)
    with pytest.raises(ModelFileError, match=r"name\.v1\.json.*format"):
        load_model(model)


@pytest.mark.parametrize("text", ["", "{", "[1]", "\x00\xff"])
def test_card_is_no_card(model: Path, text: str) -> None:
    model_paths(model)[1].write_text(text)
    with pytest.raises(ModelFileError, match="not a model card"):
        load_model(model)


@pytest.mark.parametrize(
    "network", [None, {}, {"r_max": 6.0}, CONFIG.to_card() | {"n_channels": "4"}, CONFIG.to_card() | {"elements": 3}]
)
def test_bad_network_entry(model: Path, network: object) -> None:
    edit_card(model, network=network)
    with pytest.raises(ModelFileError, match="network"):
        load_model(model)


def rewrite(model: Path, tensors: dict[str, np.ndarray]) -> None:
    """Write other tensors with a fitting checksum, as a faulty program would."""
    import hashlib

    save_file(tensors, model_paths(model)[0])
    edit_card(model, sha256=hashlib.sha256(model_paths(model)[0].read_bytes()).hexdigest())


@pytest.mark.parametrize("name", ["layers.1.radial.2", "head.weight"])
def test_missing_tensor(model: Path, name: str) -> None:
    found, _ = load_model(model)
    del found[name]
    rewrite(model, found)
    with pytest.raises(ModelFileError, match=f"name.v1.safetensors lacks the tensor '{name}'"):
        load_model(model)


@pytest.mark.parametrize("name", ["layers.0.skip", "layers.0.product.3", "basis.2.coefficients", "head.weight"])
def test_wrong_shape(model: Path, name: str) -> None:
    found, _ = load_model(model)
    found[name] = found[name][:, :-1].copy()
    rewrite(model, found)
    with pytest.raises(ModelFileError, match=r"has shape .*, expected"):
        load_model(model)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_none(model: Path, value: float) -> None:
    found, _ = load_model(model)
    found["layers.0.skip"] = found["layers.0.skip"].copy()
    found["layers.0.skip"].flat[3] = value
    rewrite(model, found)
    with pytest.raises(ModelFileError, match=r"'layers.0.skip' holds 1 numbers that are NaN or infinite"):
        load_model(model)
