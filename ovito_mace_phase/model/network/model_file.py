"""Model files: `<name>.safetensors` (numbers) beside `<name>.json` (the card: architecture, provenance, checksum).

Nothing is ever unpickled: a model file is untrusted input. All normalisations of the original network are folded
into the numbers, so that each tensor is used in a plain product `x @ W`. With C channels, E elements and L = l_max + 1:

    embedding                 (E, C)        feature row of each element
    layers.{t}.linear_up      (C, C)
    layers.{t}.radial.{k}     (in, out)     MLP of the edge length, silu between; the last gives L * C as [l, channel]
    layers.{t}.linear.{l}     (C, C)        holds 1 / avg_num_neighbors
    layers.{t}.skip           (E, C, C)
    layers.{t}.product.{nu}   (E, P_nu, C)  path weights of the products of nu messages
    layers.{t}.product_linear (C, C)
    basis.{nu}.monomials      (M_nu, nu)    uint8 components lm multiplied with each other, ascending
    basis.{nu}.coefficients   (M_nu, P_nu)  what each monomial adds to each path

A model file may hold further tensors, such as those of a head; the card lists the shapes of all.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from ovito_mace_phase.runtime.errors import ModelFileError

FORMAT_NAME = "ovito-mace-phase"
FORMAT_VERSION = 1
SMALLEST = 1e-30
"""Weights closer to zero are zeros: they change no logit, see `without_subnormals`."""


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Architecture of the network; lengths in the units the network was trained in (A)."""

    r_max: float  # cutoff radius
    n_bessel: int  # radial basis functions
    cutoff_p: int  # power of the polynomial cutoff
    n_channels: int
    l_max: int
    correlation: int  # messages multiplied at most
    n_layers: int
    avg_num_neighbors: float  # already divided out in layers.{t}.linear.{l}; kept for the record
    elements: tuple[int, ...]  # atomic number of each row of the element tables
    radial_hidden: tuple[int, ...]  # hidden widths of the radial MLP

    @property
    def n_components(self) -> int:
        """Number of (l, m) components of a message."""
        return (self.l_max + 1) ** 2

    @property
    def n_plain(self) -> int:
        """Columns of the features of a layer that are no powers of messages: node features, and messages of l = 0."""
        return 2 * self.n_channels

    def to_card(self) -> dict[str, Any]:
        """Return the entry `network` of a model card."""
        return asdict(self)

    @classmethod
    def from_card(cls, card: Mapping[str, Any]) -> NetworkConfig:
        """Read the entry `network` of a model card; raises ModelFileError when it is absent or unfit."""
        entry = card.get("network")
        if not isinstance(entry, Mapping):
            raise ModelFileError("the model card has no entry 'network': convert or train the model again")
        values: dict[str, Any] = {}
        for field in fields(cls):
            value = entry.get(field.name)
            if not _fits(value, str(field.type)):
                raise ModelFileError(
                    f"the model card has network setting {field.name} = {value!r}, expected {field.type}: "
                    "convert or train the model again"
                )
            values[field.name] = tuple(value) if isinstance(value, list | tuple) else value
        return cls(**values)


def _fits(value: object, kind: str) -> bool:
    """Whether a value read from JSON can be a field of the type `kind`."""
    if kind == "tuple[int, ...]":
        return isinstance(value, list | tuple) and len(value) > 0 and all(_fits(v, "int") for v in value)
    if kind == "float":
        return isinstance(value, int | float) and not isinstance(value, bool) and value > 0
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def tensor_shapes(config: NetworkConfig) -> dict[str, tuple[int | str, ...]]:
    """Return name -> shape of every tensor the network needs; a string stands for a size found in the file itself."""
    c, n_elements, n_l = config.n_channels, len(config.elements), config.l_max + 1
    orders = range(1, config.correlation + 1)
    widths = (config.n_bessel, *config.radial_hidden, n_l * c)
    shapes: dict[str, tuple[int | str, ...]] = {"embedding": (n_elements, c)}
    for nu in orders:
        shapes[f"basis.{nu}.monomials"] = (f"monomials {nu}", nu)
        shapes[f"basis.{nu}.coefficients"] = (f"monomials {nu}", f"paths {nu}")
    for t in range(config.n_layers):
        layer = f"layers.{t}"
        shapes[f"{layer}.linear_up"] = (c, c)
        shapes |= {f"{layer}.radial.{k}": widths[k : k + 2] for k in range(len(widths) - 1)}
        shapes |= {f"{layer}.linear.{degree}": (c, c) for degree in range(n_l)}
        shapes[f"{layer}.skip"] = (n_elements, c, c)
        shapes |= {f"{layer}.product.{nu}": (n_elements, f"paths {nu}", c) for nu in orders}
        shapes[f"{layer}.product_linear"] = (c, c)
    return shapes


def save_model(path: str | Path, tensors: Mapping[str, np.ndarray], card: Mapping[str, Any]) -> None:
    """Write `path`.safetensors and `path`.json; each appears complete or not at all.

    `card` is extended by format, version, checksum and shapes. Raises ModelFileError when the card describes a
    network that the tensors do not hold.
    """
    from safetensors.numpy import save

    numbers_path, card_path = model_paths(path)
    arrays = {name: np.ascontiguousarray(without_subnormals(array)) for name, array in tensors.items()}
    blob = save(arrays)
    full_card = {
        "format": FORMAT_NAME,
        "format_version": FORMAT_VERSION,
        **{k: v for k, v in card.items() if k not in {"format", "format_version", "sha256", "tensors"}},
        "sha256": hashlib.sha256(blob).hexdigest(),
        "tensors": {name: list(array.shape) for name, array in sorted(arrays.items())},
    }
    _check_tensors(arrays, full_card, numbers_path)
    text = json.dumps(full_card, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    numbers_path.parent.mkdir(parents=True, exist_ok=True)
    for target, content in ((numbers_path, blob), (card_path, text.encode())):
        temporary = target.with_name(target.name + ".part")
        temporary.write_bytes(content)
        temporary.replace(target)


def load_model(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read tensors and card of a model; `path` with or without one of the two suffixes.

    Raises ModelFileError when a file is missing, foreign, of a newer format, or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    numbers_path, card_path = model_paths(path)
    card = read_card(path)
    blob = _read_bytes(numbers_path)
    checksum = hashlib.sha256(blob).hexdigest()
    if checksum != card.get("sha256"):
        raise ModelFileError(
            f"{numbers_path} is damaged or belongs to another card: its sha256 is {checksum}, "
            f"{card_path.name} says {card.get('sha256')}. Copy both files again"
        )
    try:
        tensors = load(blob)
    except (SafetensorError, ValueError, KeyError) as error:
        raise ModelFileError(f"{numbers_path} is not a safetensors file ({error}). Copy it again") from error
    _check_tensors(tensors, card, numbers_path)
    return {name: without_subnormals(tensor) for name, tensor in tensors.items()}, card


def without_subnormals(weights: np.ndarray) -> np.ndarray:
    """Return weights with those below `SMALLEST` as zeros; whole numbers as they are.

    Training with decay leaves weights below 1.2e-38, and on many processors each product with one takes a hundred times
    as long: a third of the time of a frame.
    """
    if weights.dtype.kind != "f":
        return weights
    tiny = (np.abs(weights) < SMALLEST) & (weights != 0)
    return np.where(tiny, weights.dtype.type(0), weights) if tiny.any() else weights


def model_paths(path: str | Path) -> tuple[Path, Path]:
    """Return the paths of the safetensors file and of the card; other suffixes belong to the name."""
    path = Path(path)
    stem = path.with_suffix("") if path.suffix in {".safetensors", ".json"} else path
    return stem.with_name(stem.name + ".safetensors"), stem.with_name(stem.name + ".json")


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelFileError(
            f"cannot read the model file {path} ({error.strerror}): a model is a pair of files, "
            "NAME.safetensors and NAME.json; make one from a MACE .model file with `ovito-mace-phase convert`"
        ) from error


def read_card(path: str | Path) -> dict[str, Any]:
    """Read the card of a model alone; ModelFileError when it is missing, foreign or of a newer format."""
    path = model_paths(path)[1]
    text = _read_bytes(path)
    try:
        card = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"{path} is not a model card: no valid JSON ({error}). Copy the file again") from error
    if not isinstance(card, dict) or card.get("format") != FORMAT_NAME:
        found = card.get("format") if isinstance(card, dict) else type(card).__name__
        raise ModelFileError(
            f"{path} is not a model card: format is {found!r}, expected {FORMAT_NAME!r}; "
            "choose a model that this program made, or convert a MACE .model file with `ovito-mace-phase convert`"
        )
    version = card.get("format_version")
    if not isinstance(version, int) or version < 1:
        raise ModelFileError(f"{path} has format version {version!r}, expected a whole number. Copy the file again")
    if version > FORMAT_VERSION:
        raise ModelFileError(
            f"{path} has format version {version}; this program reads up to {FORMAT_VERSION}: upgrade ovito-mace-phase"
        )
    return card


def _check_tensors(tensors: Mapping[str, np.ndarray], card: Mapping[str, Any], path: Path) -> None:
    """Compare the shapes with the list of the card and with the architecture; all numbers must be finite."""
    listed = card.get("tensors")
    expected: dict[str, tuple[int | str, ...]] = {}
    if isinstance(listed, Mapping):
        expected |= {name: tuple(shape) for name, shape in listed.items()}
    if "network" in card:
        config = NetworkConfig.from_card(card)
        _match(tensors, tensor_shapes(config), path)
    _match(tensors, expected, path)
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise ModelFileError(
                f"{path}: tensor {name!r} holds {np.count_nonzero(~np.isfinite(tensor))} numbers that are NaN or "
                "infinite: training diverged or the file was edited; use another model, or an earlier checkpoint"
            )


def _match(tensors: Mapping[str, np.ndarray], expected: Mapping[str, tuple[int | str, ...]], path: Path) -> None:
    sizes: dict[str, int] = {}
    for name, shape in expected.items():
        if name not in tensors:
            raise ModelFileError(f"{path} lacks the tensor {name!r}: convert or train the model again")
        found = tensors[name].shape
        wanted = tuple(sizes.get(size, size) if isinstance(size, str) else size for size in shape)
        matches = len(found) == len(wanted) and all(
            isinstance(want, str) or want == have for want, have in zip(wanted, found, strict=True)
        )
        if not matches:
            raise ModelFileError(
                f"{path}: tensor {name!r} has shape {found}, expected {wanted}: convert or train the model again"
            )
        sizes |= {want: have for want, have in zip(wanted, found, strict=True) if isinstance(want, str)}
