"""A network of MACE's architecture with few channels, drawn at random, to train in seconds."""

from __future__ import annotations

import numpy as np
from engine_tools import shipped

from ovito_mace_phase.model.network.model_file import NetworkConfig, tensor_shapes

CONFIG = NetworkConfig(
    r_max=5.0,
    n_bessel=10,
    cutoff_p=5,
    n_channels=8,
    l_max=3,
    correlation=3,
    n_layers=2,
    avg_num_neighbors=40.0,
    elements=(8, 14, 29, 12, 22, 17),
    radial_hidden=(8, 8),
)
SIZES = {"monomials 1": 1, "monomials 2": 16, "monomials 3": 77, "paths 1": 1, "paths 2": 4, "paths 3": 23}
"""Sizes that follow from the coupling of l_max 3 at correlation 3."""


def random_tensors(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Return the tensors of such a network; the basis of the products is that of the shipped one."""
    given, _, _ = shipped()
    shapes = {name: [SIZES.get(size, size) for size in shape] for name, shape in tensor_shapes(CONFIG).items()}
    out = {name: rng.normal(0, 0.3, shape).astype(np.float32) for name, shape in shapes.items()}
    return out | {name: given[name] for name in out if name.startswith("basis")}
