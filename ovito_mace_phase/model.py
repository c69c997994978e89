"""The whole model: carriers, network, head and calibration from one pair of files.

    frame in the user's lengths -> length factor -> edges within r_max -> network -> head -> logits (n_atoms, n_phases)

An atom without neighbours within r_max has no environment to classify: its logits say Other.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from .confidence import Calibration
from .errors import CancelledError, InputError, ModelFileError
from .frame import Frame, IntArray
from .lengths import TARGET_VOLUME, length_factor, local_spacing
from .neighbours import Edges, neighbour_list
from .phases import Phase, phase_table
from .species import assign_carriers

if TYPE_CHECKING:
    from .head import PhaseHead
    from .network.fused import FusedNetwork

SHIPPED = Path(__file__).parent / "weights" / "mace_phase"
Device = Literal["auto", "cpu", "cuda"]
_MOST_CROWDED = 4.0  # length scale over the natural one; beyond it an atom has thousands of neighbours


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkInput:
    """A frame as the network reads it: `edges` in network units, `carrier` (n_atoms,), `factor` from file units."""

    edges: Edges
    carrier: IntArray
    factor: float


class PhaseModel:
    """Network, phase head and calibration.

    Attributes
    ----------
    phases : tuple of Phase
        Columns of the logits; column 0 is OTHER.
    card : dict
        The model card: architecture, calibration, training record, licences.
    calibration : Calibration
    """

    def __init__(self, network: FusedNetwork, head: PhaseHead, phases: tuple[Phase, ...], card: dict[str, Any]) -> None:
        self.network, self.head, self.phases, self.card = network, head, phases, card
        self.calibration = Calibration.from_card(card)

    @classmethod
    def load(cls, path: str | Path | None = None, *, device: Device = "auto") -> PhaseModel:
        """Read a model.

        Parameters
        ----------
        path : path, optional
            NAME.safetensors beside NAME.json; default the shipped weights.
        device : 'auto', 'cpu' or 'cuda'
            Where the head runs ('auto': the GPU if there is one).

        Raises
        ------
        ModelFileError
            When the files are missing, damaged, foreign, or name phases that this version does not have.
        InputError
            When CUDA is asked for and not there.
        """
        from .head import PhaseHead
        from .network.fused import FusedNetwork
        from .network.weights import NetworkConfig, load_model

        tensors, card = load_model(SHIPPED if path is None else path)
        head = PhaseHead.from_tensors(tensors, card).to(_device(device))
        table = phase_table()
        try:
            phases = tuple(table.by_key(key) for key in card["phases"])
        except (KeyError, InputError) as error:
            raise ModelFileError(
                f"the model names phases that this version of the table does not have ({error}); "
                "upgrade ovito-mace-phase or choose another model"
            ) from None
        if len(phases) != head.config.n_phases:
            raise ModelFileError(
                f"the model card lists {len(phases)} phases but the head has {head.config.n_phases}: "
                "the card was edited; copy both files again"
            )
        return cls(FusedNetwork(tensors, NetworkConfig.from_card(card)), head, phases, card)

    @property
    def name(self) -> str:
        """Name of the model, for the record."""
        return str(self.card.get("name", "unnamed"))

    def prepare(
        self, frame: Frame, length_scale: float | None = None, cancelled: Callable[[], bool] | None = None
    ) -> NetworkInput:
        """Normalise lengths, put species on carriers and build the edges.

        Parameters
        ----------
        frame : Frame
        length_scale : float, optional
            Cube root of the volume per atom, in the file's unit; None estimates it from the local density.
        """
        if length_scale is not None and not (np.isfinite(length_scale) and length_scale > 0):
            raise InputError(
                f"length_scale must be a positive number (the cube root of the volume per atom), not {length_scale}"
            )
        spacing = local_spacing(frame)
        factor = length_factor(spacing)
        if length_scale is not None:
            natural, factor = factor, TARGET_VOLUME ** (1.0 / 3.0) / length_scale
            if np.isfinite(spacing).any() and factor * _MOST_CROWDED < natural:
                about = TARGET_VOLUME ** (1.0 / 3.0) / natural
                raise InputError(
                    f"length_scale = {length_scale:g} is far too long: the cube root of the volume per atom is about "
                    f"{about:.3g} in this frame; leave it on auto, or give the length in the unit of the file"
                )
        if cancelled is not None and cancelled():
            raise CancelledError("stopped by the caller")
        carrier = assign_carriers(frame, self.network.n_carriers, spacing)
        edges = neighbour_list(frame.positions * factor, frame.cell * factor, frame.pbc, self.network.config.r_max)
        return NetworkInput(edges=edges, carrier=carrier, factor=factor)

    def logits(
        self,
        frame: Frame,
        *,
        length_scale: float | None = None,
        progress: Callable[[float], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> npt.NDArray[np.float32]:
        """Return the logits of a frame.

        Parameters
        ----------
        frame : Frame
        length_scale : float, optional
            See `prepare`.
        progress : callable, optional
            Called with the fraction done, from the calling thread.
        cancelled : callable, optional
            Asked between blocks; True raises `CancelledError`.

        Returns
        -------
        (n_atoms, n_phases) float32
        """
        import torch

        from .head import prepare

        logits = np.zeros((len(frame), len(self.phases)), dtype=np.float32)
        if len(frame) == 0:
            return logits
        given = self.prepare(frame, length_scale, cancelled)
        blocks = self.network.feature_blocks(given.edges, given.carrier, progress=progress, cancelled=cancelled)
        device = self.head.mean.device
        with torch.inference_mode():
            for rows, features in blocks:
                prepare(features, self.network.config.n_channels)
                logits[rows] = self.head(torch.from_numpy(features).to(device)).cpu().numpy()
        logits[np.diff(given.edges.offsets) == 0] = np.where(
            [phase.key == "OTHER" for phase in self.phases], 0.0, -50.0
        )
        return logits


def _device(device: Device) -> str:
    import torch

    if device not in ("auto", "cpu", "cuda"):
        raise InputError(f"device must be 'auto', 'cpu' or 'cuda', not {device!r}")
    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        raise InputError(
            "device='cuda' was asked for, but torch finds no CUDA GPU; use 'auto' or install a CUDA build of torch"
        )
    return "cuda" if device != "cpu" and available else "cpu"
