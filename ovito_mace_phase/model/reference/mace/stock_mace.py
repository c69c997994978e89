"""The same network evaluated by stock mace-torch: the oracle that the engine is compared with, and `backend='mace'`.

    tensors of a model file -> mace-torch module (the inverse of `from_mace.py`) -> features by hooks -> head

Whole frames only, slow, and 1.3 MB of memory an atom. Needs mace-torch; imports it when used.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ovito_mace_phase.model.network.head import PhaseHead
from ovito_mace_phase.model.network.model_file import NetworkConfig
from ovito_mace_phase.runtime.errors import MissingPackageError, ModelFileError

from .from_mace import symmetric_polynomial

if TYPE_CHECKING:
    from ovito_mace_phase.atoms.cell_grid import CellGrid

_MOST_ATOMS = 10_000  # 13 GB


def to_mace(tensors: Mapping[str, npt.NDArray[Any]], config: NetworkConfig, dtype: torch.dtype) -> Any:
    """Return a `mace.modules.ScaleShiftMACE` with the weights of a model file.

    Raises
    ------
    MissingPackageError
        Without mace-torch.
    ModelFileError
        When this version of mace-torch builds its products from another basis.
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        for reduced in (False, True):
            model = _empty(config, reduced)
            if _same_basis(model, tensors, config):
                break
        else:
            raise ModelFileError(
                "this version of mace-torch builds its products from another basis than the model file"
            )
        _fill(model, tensors, config)
    finally:
        torch.set_default_dtype(before)
    return model.to(dtype).eval().requires_grad_(False)


def _empty(config: NetworkConfig, reduced: bool) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from mace.modules import RealAgnosticResidualInteractionBlock, ScaleShiftMACE  # isort: skip
            from e3nn import o3  # after mace, which lets e3nn 0.4 read its own tables with torch 2.6 and later
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            "backend='mace' needs mace-torch; install it with `python -m pip install mace-torch`"
        ) from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of TorchScript, about itself
        return ScaleShiftMACE(
            r_max=config.r_max,
            num_bessel=config.n_bessel,
            num_polynomial_cutoff=config.cutoff_p,
            max_ell=config.l_max,
            interaction_cls=RealAgnosticResidualInteractionBlock,
            interaction_cls_first=RealAgnosticResidualInteractionBlock,
            num_interactions=config.n_layers,
            num_elements=len(config.elements),
            hidden_irreps=o3.Irreps(f"{config.n_channels}x0e"),
            MLP_irreps=o3.Irreps("16x0e"),
            atomic_energies=np.zeros(len(config.elements)),
            avg_num_neighbors=config.avg_num_neighbors,
            # slots are no elements, and repeated ones must differ
            atomic_numbers=list(range(1, len(config.elements) + 1)),
            correlation=config.correlation,
            gate=torch.nn.functional.silu,
            radial_MLP=list(config.radial_hidden),
            atomic_inter_scale=1.0,
            atomic_inter_shift=0.0,
            use_reduced_cg=reduced,
        )


def _same_basis(model: Any, tensors: Mapping[str, npt.NDArray[Any]], config: NetworkConfig) -> bool:
    for nu in range(1, config.correlation + 1):
        basis = getattr(model.products[0].symmetric_contractions.contractions[0], f"U_matrix_{nu}")
        monomials, coefficients = symmetric_polynomial(basis.double().numpy())
        mine = tensors[f"basis.{nu}.coefficients"]
        if not np.array_equal(monomials, tensors[f"basis.{nu}.monomials"]) or coefficients.shape != mine.shape:
            return False
        if np.abs(coefficients - mine).max() > 1e-6:
            return False
    return True


def _fill(model: Any, tensors: Mapping[str, npt.NDArray[Any]], config: NetworkConfig) -> None:
    _set_linear(model.node_embedding.linear, [tensors["embedding"]])
    for t, (interaction, product) in enumerate(zip(model.interactions, model.products, strict=True)):
        name = f"layers.{t}"
        _set_linear(interaction.linear_up, [tensors[f"{name}.linear_up"]])
        average = float(interaction.avg_num_neighbors)
        _set_linear(
            interaction.linear,
            [tensors[f"{name}.linear.{degree}"] * average for degree in range(config.l_max + 1)],
        )
        _set_linear(interaction.skip_tp, [tensors[f"{name}.skip"].transpose(1, 0, 2)])
        constant = 1.0
        for k, layer in enumerate(interaction.conv_tp_weights.children()):
            weight = tensors[f"{name}.radial.{k}"] * np.sqrt(layer.h_in * layer.var_in) / constant
            _set(layer.weight, weight)
            constant = float(layer.act.cst) if layer.act is not None else 1.0
        contraction = product.symmetric_contractions.contractions[0]
        for nu, weight in zip(
            range(config.correlation, 0, -1), [contraction.weights_max, *contraction.weights], strict=True
        ):
            _set(weight, tensors[f"{name}.product.{nu}"])
        _set_linear(product.linear, [tensors[f"{name}.product_linear"]])


def _set_linear(module: Any, blocks: list[npt.NDArray[Any]]) -> None:
    """Write the weights of each path of an e3nn operation; `blocks` have the path weights in them."""
    weights = [float(path.path_weight) for path in module.instructions]
    flat = [np.asarray(block, dtype=np.float64).ravel() / w for block, w in zip(blocks, weights, strict=True)]
    _set(module.weight, np.concatenate(flat))


def _set(parameter: Tensor, values: npt.NDArray[Any]) -> None:
    with torch.no_grad():
        parameter.copy_(torch.as_tensor(np.asarray(values, dtype=np.float64)).reshape(parameter.shape))


class MaceBackend:
    """Logits of frames by mace-torch.

    Parameters
    ----------
    tensors, config
        Of a model file.
    head : PhaseHead
    dtype : torch.dtype
    """

    def __init__(
        self,
        tensors: Mapping[str, npt.NDArray[Any]],
        config: NetworkConfig,
        head: PhaseHead,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.config, self.dtype = config, dtype
        self.model = to_mace(tensors, config, dtype)
        self._head = PhaseHead(head.config)
        self._head.load_state_dict(head.state_dict())
        self._head = self._head.to(dtype).eval().requires_grad_(False)

    def inputs(self, grid: CellGrid, slots: npt.NDArray[np.int64]) -> dict[str, Tensor]:
        """Return what mace-torch is called with; the neighbour list is that of the grid."""
        n_atoms = len(grid)
        offsets, neighbour, vectors = grid.pairs(0, n_atoms)
        centre = np.repeat(np.arange(n_atoms), np.diff(offsets))
        positions = grid.positions
        kinds = torch.from_numpy(slots)
        return {
            "positions": torch.tensor(positions, dtype=self.dtype),
            "node_attrs": torch.nn.functional.one_hot(kinds, len(self.config.elements)).to(self.dtype),
            "edge_index": torch.from_numpy(np.stack([neighbour, centre])),
            # mace takes receiver - sender + shift: from the neighbour to the centre
            "shifts": torch.tensor(positions[neighbour] - positions[centre] - vectors, dtype=self.dtype),
            "unit_shifts": torch.zeros(len(neighbour), 3, dtype=self.dtype),
            "cell": torch.zeros(3, 3, dtype=self.dtype),
            "batch": torch.zeros(n_atoms, dtype=torch.int64),
            "ptr": torch.tensor([0, n_atoms]),
            "head": torch.zeros(1, dtype=torch.int64),
        }

    def logits(self, grid: CellGrid, slots: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Return logits (n_atoms, n_phases) in the order of the grid; `slots` (n_atoms,) too.

        Raises
        ------
        ModelFileError
            For a frame that is too large for mace-torch.
        """
        if len(grid) > _MOST_ATOMS:
            raise ModelFileError(
                f"backend='mace' holds a frame whole and takes at most {_MOST_ATOMS} atoms, not {len(grid)}: "
                "use the engine"
            )
        nodes: list[Tensor] = []
        messages: list[Tensor] = []
        hooks = [p.register_forward_hook(lambda *a: nodes.append(a[2])) for p in self.model.products]
        hooks += [i.register_forward_hook(lambda *a: messages.append(a[2][0])) for i in self.model.interactions]
        data = self.inputs(grid, slots)
        try:
            with torch.no_grad():
                self.model(data, compute_force=False)
        finally:
            for hook in hooks:
                hook.remove()
        layers = []
        for node, message in zip(nodes, messages, strict=True):
            parts = message.split([2 * degree + 1 for degree in range(self.config.l_max + 1)], dim=2)
            powers = [part.square().mean(2) for part in parts[1:]]
            layers.append(torch.cat([node, parts[0][:, :, 0], *powers], dim=1))
        means = self._means(layers[0], slots, data)
        with torch.no_grad():
            logits = self._head(self._head.roots([*layers, *means], self.config.n_plain))
        return logits.float().numpy()

    def _means(self, values: Tensor, slots: npt.NDArray[np.int64], data: Mapping[str, Tensor]) -> list[Tensor]:
        neighbour, centre = data["edge_index"]
        vectors = data["positions"][centre] - data["positions"][neighbour] + data["shifts"]
        weight = (1.0 - vectors.square().sum(1) / self.config.r_max**2).clamp_min(0.0).pow(3)
        kinds = torch.from_numpy(slots)
        found = []
        for mask in (kinds[neighbour] == kinds[centre], torch.ones(len(centre), dtype=torch.bool)):
            part = weight[mask]
            total = values.index_add(0, centre[mask], part.unsqueeze(1) * values[neighbour[mask]])
            norm = torch.ones(len(values), dtype=values.dtype).index_add(0, centre[mask], part)
            found.append(total / norm.unsqueeze(1))
        return found
