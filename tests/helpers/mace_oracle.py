"""What mace-torch itself says about a structure, and the structures to ask about."""

from __future__ import annotations

import warnings

import ase
import numpy as np
import torch
from ase.build import bulk, fcc111, molecule
from ase.data import chemical_symbols


def small_mace(seed: int, *, elements: list[int], n_channels: int = 8, **changes: object) -> torch.nn.Module:
    """A random model of the architecture of MACE-MP-0 small, with fewer channels."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mace.modules import RealAgnosticResidualInteractionBlock, ScaleShiftMACE  # isort: skip
        from e3nn import o3  # after mace, which lets e3nn 0.4 read its own tables with torch 2.6 and later

    torch.manual_seed(seed)
    settings = {
        "r_max": 6.0,
        "num_bessel": 10,
        "num_polynomial_cutoff": 5,
        "max_ell": 3,
        "interaction_cls": RealAgnosticResidualInteractionBlock,
        "interaction_cls_first": RealAgnosticResidualInteractionBlock,
        "num_interactions": 2,
        "num_elements": len(elements),
        "hidden_irreps": o3.Irreps(f"{n_channels}x0e"),
        "MLP_irreps": o3.Irreps("16x0e"),
        "atomic_energies": np.zeros(len(elements)),
        "avg_num_neighbors": 6.2,  # small, so that products of messages weigh in
        "atomic_numbers": elements,
        "correlation": 3,
        "gate": torch.nn.functional.silu,
        "radial_MLP": [64, 64, 64],
        "atomic_inter_scale": 1.0,
        "atomic_inter_shift": 0.0,
        "use_reduced_cg": False,
        **changes,
    }
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        return ScaleShiftMACE(**settings)
    finally:
        torch.set_default_dtype(before)


def mace_features(model: torch.nn.Module, atoms: ase.Atoms, direction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Features of both layers (n_atoms, 2 C), and the gradient of their product with `direction` by position.

    mace gets the neighbour list of its own data loader.
    """
    from mace.data import AtomicData, config_from_atoms
    from mace.tools import AtomicNumberTable, torch_geometric

    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        table = AtomicNumberTable([int(z) for z in model.atomic_numbers])
        data = AtomicData.from_config(config_from_atoms(atoms), z_table=table, cutoff=float(model.r_max))
        batch = next(iter(torch_geometric.dataloader.DataLoader([data], batch_size=1))).to_dict()
        batch["positions"].requires_grad_(True)
        features = model(batch, compute_force=False)["node_feats"]
        (gradient,) = torch.autograd.grad((features * torch.as_tensor(direction)).sum(), batch["positions"])
    finally:
        torch.set_default_dtype(before)
    return features.detach().numpy(), gradient.numpy()


def structures(rng: np.random.Generator, elements: list[int]) -> dict[str, ase.Atoms]:
    """Structures that have tripped neighbour lists and element tables before; all atoms displaced at random."""
    triclinic = ase.Atoms(
        numbers=rng.choice(elements, 9),
        scaled_positions=rng.uniform(-1, 2, (9, 3)),
        cell=[[6.1, 0, 0], [-2.3, 5.8, 0], [1.9, 2.2, 6.4]],
        pbc=True,
    )
    two = [chemical_symbols[z] for z in rng.choice(elements, 2, replace=False)]
    slab = fcc111(two[0], (2, 2, 3), a=4.1, vacuum=None)  # one zero cell vector
    chain = ase.Atoms(
        numbers=rng.choice(elements, 3), positions=rng.uniform(0, 3, (3, 3)), cell=[0, 0, 5], pbc=(0, 0, 1)
    )
    cluster = molecule("C6H6")
    cluster.numbers = rng.choice(elements, len(cluster))
    found = {
        "triclinic": triclinic,
        "one atom, small cell": bulk(two[0], "fcc", a=3.6),
        "one atom, needle": ase.Atoms(two[1], cell=np.diag([2.4, 3.1, 40.0]), pbc=True),
        "rocksalt": bulk("NaCl", "rocksalt", a=5.5, cubic=True),
        "slab": slab,
        "chain": chain,
        "cluster": cluster,
        "isolated atom": ase.Atoms(two[0], positions=[[1.0, 2.0, 3.0]]),
        "pair out of reach": ase.Atoms(two, positions=[[0, 0, 0], [0, 0, 6.5]]),
    }
    found["rocksalt"].numbers = rng.choice(elements, 8)
    for atoms in found.values():
        atoms.positions += rng.normal(0, 0.1, (len(atoms), 3))
    return found
