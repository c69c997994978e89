"""The converter: what it accepts, what it refuses, and that it leaves nothing unsafe behind."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import combinations_with_replacement
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from mace_oracle import small_mace

from ovito_mace_phase.cli.convert import convert_command
from ovito_mace_phase.model.network.model_file import NetworkConfig, load_model
from ovito_mace_phase.model.reference.mace.convert import (
    ORIGINAL_SHA256,
    convert,
    convert_module,
    find_original,
    select_elements,
)
from ovito_mace_phase.model.reference.mace.from_mace import symmetric_polynomial
from ovito_mace_phase.runtime.errors import InputError, ModelFileError


@pytest.fixture(scope="module")
def module() -> torch.nn.Module:
    return small_mace(3, elements=[1, 8, 29], n_channels=4)


@pytest.fixture(scope="module")
def model_file(module: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mace") / "small.model"
    torch.save(module, path)
    return path


def test_command(model_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "sub" / "mine"
    result = CliRunner().invoke(convert_command, [str(model_file), "-o", str(out), "--allow-other"])
    assert result.exit_code == 0, result.output
    assert "2 layers, 4 channels, cutoff 6 A, 3 elements" in result.output
    tensors, card = load_model(out)
    assert NetworkConfig.from_card(card).elements == (1, 8, 29)
    assert card["original"]["file"] == "small.model"
    assert tensors["embedding"].dtype == np.float64


def test_other_file_needs_consent(model_file: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=rf"{ORIGINAL_SHA256}.*--allow-other"):
        convert(model_file, tmp_path / "out")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [b"", b"no pickle at all", b"PK\x03\x04 cut off"])
def test_not_a_model(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.model"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match="not a MACE model file"):
        convert(path, tmp_path / "out", allow_other=True)


def test_state_dict_is_not_a_model(module: torch.nn.Module, tmp_path: Path) -> None:
    torch.save(module.state_dict(), tmp_path / "state.model")
    with pytest.raises(ModelFileError, match="class is OrderedDict"):
        convert(tmp_path / "state.model", tmp_path / "out", allow_other=True)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"none\.model"):
        convert(tmp_path / "none.model", tmp_path / "out")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_irreps": "4x0e+4x1o"}, "hidden_irreps|node_feats_irreps"),
        ({"radial_type": "gaussian"}, "radial basis is GaussianBasis"),
        ({"distance_transform": "Agnesi"}, "distance transform"),
        ({"interaction_cls_first": "RealAgnosticInteractionBlock"}, "interaction is RealAgnosticInteractionBlock"),
        ({"apply_cutoff": False}, "apply_cutoff"),
        ({"use_agnostic_product": True}, "product is without elements"),
    ],
)
def test_other_architectures_are_refused(changes: dict[str, object], message: str) -> None:
    from mace import modules  # isort: skip
    from e3nn import o3  # after mace, see `mace_oracle.small_mace`

    if "hidden_irreps" in changes:
        changes = {"hidden_irreps": o3.Irreps(str(changes["hidden_irreps"]))}
    if "interaction_cls_first" in changes:
        changes = {"interaction_cls_first": getattr(modules, str(changes["interaction_cls_first"]))}
    with pytest.raises(ModelFileError, match=f"not supported: .*({message})"):
        convert_module(small_mace(1, elements=[1, 8], n_channels=4, **changes))


def test_environment_is_left_alone(model_file: Path, tmp_path: Path) -> None:
    """Importing mace makes every later torch.load unsafe; the converter undoes that. In a process of its own."""
    code = (
        "import os, sys, ovito_mace_phase.model.reference.mace.convert as c\n"
        "assert 'mace' not in sys.modules and 'torch' not in sys.modules\n"
        f"c.convert({str(model_file)!r}, {str(tmp_path / 'out')!r}, allow_other=True)\n"
        "assert 'mace' in sys.modules and 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD' not in os.environ\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"}
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, env=environment)


def test_find_original(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MACE_MP_0_SMALL", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(InputError, match=r"mace_mp\('small'\).*https://.*MACE_MP_0_SMALL"):
        find_original()
    cached = tmp_path / "mace" / "20231210mace128L0_energy_epoch249model"
    cached.parent.mkdir()
    cached.touch()
    assert find_original() == cached
    monkeypatch.setenv("MACE_MP_0_SMALL", str(tmp_path / "mine.model"))
    with pytest.raises(InputError, match=r"mine\.model"):  # a wrong path is not passed over
        find_original()
    (tmp_path / "mine.model").touch()
    assert find_original() == tmp_path / "mine.model"


def test_original_file(tmp_path: Path) -> None:
    try:
        path = find_original()
    except InputError as error:
        pytest.skip(str(error))
    convert(path, tmp_path / "mp0")
    tensors, card = load_model(tmp_path / "mp0")
    assert card["original"]["sha256"] == ORIGINAL_SHA256
    assert card["original"]["licence"] == "MIT"
    assert card["network"]["avg_num_neighbors"] == pytest.approx(61.9647, abs=1e-4)
    assert tensors["basis.3.monomials"].shape == (77, 3)
    assert np.linalg.matrix_rank(tensors["basis.3.coefficients"]) == 8
    assert tensors["layers.0.radial.3"].shape == (64, 512)


def test_select_elements(module: torch.nn.Module) -> None:
    tensors, config = convert_module(module)
    fewer, fewer_config = select_elements(tensors, config, [29, 1])
    assert fewer_config.elements == (29, 1)
    for name in ("embedding", "layers.1.skip", "layers.0.product.3"):
        np.testing.assert_array_equal(fewer[name], tensors[name][[2, 0]])
    for name in ("basis.3.coefficients", "layers.0.product_linear", "layers.1.linear.2"):
        np.testing.assert_array_equal(fewer[name], tensors[name])
    with pytest.raises(InputError, match="Z = 1, 8, 29"):
        select_elements(tensors, config, [2])


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_symmetric_polynomial(order: int) -> None:
    rng = np.random.default_rng(order)
    basis = rng.normal(size=(*[5] * order, 3))
    monomials, coefficients = symmetric_polynomial(basis)
    assert monomials.tolist() == [list(m) for m in combinations_with_replacement(range(5), order)]
    values = rng.normal(size=5)
    expected = basis
    for _ in range(order):
        expected = np.tensordot(values, expected, axes=1)
    np.testing.assert_allclose(values[monomials].prod(axis=1) @ coefficients, expected, rtol=1e-12)
    sparse = basis * (np.arange(5) > 1)[(..., *[None] * order)]  # the first factor is never 0 or 1
    assert symmetric_polynomial(sparse)[0].max(axis=1).min() > 1
