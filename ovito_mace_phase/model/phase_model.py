"""The whole model: carriers, network, head and calibration from one pair of files.

    frame in the user's lengths -> length factor -> edges within r_max -> network -> head -> logits (n_atoms, n_phases)

An atom without neighbours within r_max has no environment to classify: its logits say Other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.atoms.bonds import find_bonds
from ovito_mace_phase.atoms.cell_grid import make_grid
from ovito_mace_phase.atoms.frame import Frame
from ovito_mace_phase.atoms.length_scale import TARGET_VOLUME, length_factor, local_spacing
from ovito_mace_phase.atoms.network_frame import Units
from ovito_mace_phase.atoms.species import assign_carriers
from ovito_mace_phase.classification.readout.logits import FullScores, PhaseScores, ScoreKeeper
from ovito_mace_phase.phases import Phase
from ovito_mace_phase.runtime.errors import CancelledError, InputError, ModelFileError
from ovito_mace_phase.runtime.wait_for import wait_for

from .calibration import Calibration
from .network.model_file import SHIPPED

if TYPE_CHECKING:
    from ovito_mace_phase.atoms.network_frame import FrameGraph

    from .engine.evaluator import Evaluator
    from .engine.gradient import Score
    from .reference.mace.stock_mace import MaceBackend

Device = Literal["auto", "cpu", "cuda"]
Backend = Literal["engine", "mace"]
_MOST_CROWDED = 4.0  # length scale over the natural one; beyond it an atom has thousands of neighbours
_ALONE = -50.0  # logit of every phase but Other for an atom without neighbours


class PhaseModel:
    """Network, phase head and calibration.

    Attributes
    ----------
    phases : tuple of Phase
        Columns of the logits; column 0 is OTHER.
    card : dict
        The model card: architecture, calibration, training record, licences.
    calibration : Calibration
    evaluator : Evaluator
        The network on its device.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        phases: tuple[Phase, ...],
        card: dict[str, Any],
        oracle: MaceBackend | None = None,
    ) -> None:
        self.evaluator, self.phases, self.card = evaluator, phases, card
        self.calibration = Calibration.from_card(card)
        self._oracle = oracle
        self._warm: set[tuple[int, bool]] = set()

    @classmethod
    def load(
        cls, path: str | Path | None = None, *, device: Device = "auto", backend: Backend = "engine"
    ) -> PhaseModel:
        """Read a model.

        Parameters
        ----------
        path : path, optional
            NAME.safetensors beside NAME.json; default the shipped weights.
        device : 'auto', 'cpu' or 'cuda'
            Where the network runs ('auto': the GPU if there is one).
        backend : 'engine' or 'mace'
            'mace' evaluates the network by stock mace-torch on the CPU: an oracle for small frames.

        Raises
        ------
        ModelFileError
            When the files are missing, damaged, foreign, or name phases that this version does not have.
        InputError
            When CUDA is asked for and not there.
        """
        from ovito_mace_phase.phases.own import table_with

        from .engine.evaluator import make_evaluator
        from .network.head import PhaseHead
        from .network.model_file import NetworkConfig, load_model

        where = _device(device)
        tensors, card = load_model(SHIPPED if path is None else path)
        head = PhaseHead.from_tensors(tensors, card)
        table = table_with(card)
        try:
            phases = tuple(table.by_key(key) for key in card["phases"])
        except (KeyError, TypeError, AttributeError):
            raise ModelFileError(
                "the model card has no list 'phases' of keys: the card was edited; copy both files of the model again"
            ) from None
        except InputError as error:
            raise ModelFileError(
                f"the model names phases that this version of the table does not have ({error}); "
                "upgrade ovito-mace-phase or choose another model"
            ) from None
        if len(phases) != head.config.n_phases:
            raise ModelFileError(
                f"the model card lists {len(phases)} phases but the head has {head.config.n_phases}: "
                "the card was edited; copy both files again"
            )
        if backend not in ("engine", "mace"):
            raise InputError(f"backend must be 'engine' or 'mace', not {backend!r}")
        config = NetworkConfig.from_card(card)
        oracle = None
        if backend == "mace":
            from .reference.mace.stock_mace import MaceBackend

            oracle = MaceBackend(tensors, config, head)
        return cls(make_evaluator(tensors, config, head, where), phases, card, oracle)

    @property
    def name(self) -> str:
        """Name of the model, for the record."""
        return str(self.card.get("name", "unnamed"))

    @property
    def noise_scale(self) -> float:
        """The scale s of the density, network units: a step r + s^2 score takes the noise off (`denoising`).

        Raises
        ------
        InputError
            For a model that was trained for labels alone: its logP is no density.
        """
        scale = self.card.get("noise_scale")
        if not isinstance(scale, int | float) or not 0.0 < scale < 10.0:
            raise InputError(
                f"the model {self.name!r} was trained for labels alone (its card has no noise_scale), so it cannot "
                "denoise; use the shipped model, or train one end to end (docs/training.md)"
            )
        return float(scale)

    @property
    def score_errors(self) -> npt.NDArray[np.float64]:
        """Error of the proposed steps in crystals of each phase, (n_phases,), network units; 0 where it is not known.

        The rms of s^2 score in crystals without noise, see `step_gain`. Phases that are not in the card have the median
        of those that are; Other has none.

        Raises
        ------
        ModelFileError
        """
        entry = self.card.get("score_errors", {})
        if not isinstance(entry, dict) or not all(_is_length(error) for error in entry.values()):
            raise ModelFileError(
                f"the entry 'score_errors' of the model card must hold a length from 0 to 1 for each phase, not "
                f"{str(entry)[:200]}: the card was edited; copy both files of the model again"
            )
        typical = float(np.median(list(entry.values()))) if entry else 0.0
        known = {"OTHER": 0.0} | entry
        return np.array([known.get(phase.key, typical) for phase in self.phases], dtype=np.float64)

    def units(
        self, frame: Frame, length_scale: float | None = None, cancelled: Callable[[], bool] | None = None
    ) -> Units:
        """Normalise lengths and put species on carriers.

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
        spacing = local_spacing(frame, cancelled)
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
        return Units(
            factor=factor, carrier=assign_carriers(frame, len(self.evaluator.weights.config.elements), spacing)
        )

    def graph(self, frame: Frame, units: Units) -> FrameGraph:
        """Sort the atoms of a frame into cells, in network units."""
        from ovito_mace_phase.atoms.network_frame import FrameGraph

        r_max = self.evaluator.weights.config.r_max
        grid = make_grid(frame.positions * units.factor, frame.cell * units.factor, frame.pbc, r_max)
        return FrameGraph(grid=grid, carrier=units.carrier[grid.order])

    def prepare(
        self, frame: Frame, length_scale: float | None = None, cancelled: Callable[[], bool] | None = None
    ) -> tuple[FrameGraph, float]:
        """Return the frame in network units and the length factor, see `units`."""
        units = self.units(frame, length_scale, cancelled)
        return self.graph(frame, units), units.factor

    def scores(
        self,
        frame: Frame,
        *,
        length_scale: float | None = None,
        units: Units | None = None,
        full: bool = True,
        considered: Sequence[int] | None = None,
        keys: Sequence[str] = (),
        memory: int | str | None = None,
        progress: Callable[[float], None] | None = None,
        status: Callable[[str], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> PhaseScores:
        """Evaluate a frame.

        Parameters
        ----------
        frame : Frame
        length_scale : float, optional
            See `units`.
        units : Units, optional
            In place of those of this frame.
        full, considered, keys
            What is kept of the logits, see `scores.ScoreKeeper`.
        memory : int or str, optional
            See `engine.memory.memory_budget`.
        progress : callable, optional
            Called with the fraction done, from the calling thread.
        status : callable, optional
            Gets a text when kernels have to be compiled first; called from another thread.
        cancelled : callable, optional
            Asked between blocks; True raises `CancelledError`.
        """
        from .engine.forward import forward

        chosen = units or self.units(frame, length_scale, cancelled)
        graph = self.graph(frame, chosen)
        keeper = ScoreKeeper(
            len(frame), self.phases, self.calibration.temperature, full=full, considered=considered, keys=keys
        )
        alone = np.array([0.0 if phase.key == "OTHER" else _ALONE for phase in self.phases], dtype=np.float32)

        def keep(first: int, last: int, logits: npt.NDArray[np.float32], n_neighbours: npt.NDArray[np.int64]) -> None:
            logits[n_neighbours == 0] = alone
            keeper.add(graph.grid.order[first:last], logits)

        if self._oracle is not None:
            if len(frame):
                keep(0, len(frame), self._oracle.logits(graph), np.diff(graph.grid.pairs(0, len(frame))[0]))
        else:
            self._warm_up(len(graph.present), gradient=False, status=status, cancelled=cancelled)
            forward(graph, self.evaluator, keep, memory=memory, progress=progress, cancelled=cancelled)
        return keeper.result(find_bonds(frame, chosen, cancelled))

    def score(
        self,
        frame: Frame,
        *,
        length_scale: float | None = None,
        units: Units | None = None,
        memory: int | str | None = None,
        progress: Callable[[float], None] | None = None,
        status: Callable[[str], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Score:
        """Return logP of every atom and the gradient of their sum by the positions, in the length unit of the frame.

        Parameters as in `scores`. Lengths and species are those of the frame as it is: the length factor is not
        differentiated.
        """
        from .engine.gradient import Score
        from .engine.gradient import score as evaluate_score

        chosen = units or self.units(frame, length_scale, cancelled)
        graph = self.graph(frame, chosen)
        self._warm_up(len(graph.present), gradient=True, status=status, cancelled=cancelled)
        found = evaluate_score(graph, self.evaluator, memory=memory, progress=progress, cancelled=cancelled)
        return Score(log_density=found.log_density, gradient=found.gradient * chosen.factor)

    def _warm_up(
        self,
        n_species: int,
        *,
        gradient: bool,
        status: Callable[[str], None] | None,
        cancelled: Callable[[], bool] | None,
    ) -> None:
        """Compile what is needed, once; above two species the same kernels serve any number."""
        from .engine.warm_up import warm_up

        need = (min(n_species, 3), gradient)

        def work() -> None:
            warm_up(self.evaluator, need[0], gradient=gradient, status=status)
            self._warm.add(need)

        if n_species and need not in self._warm:
            wait_for(("kernels", id(self), need), work, cancelled)

    def logits(self, frame: Frame, **settings: Any) -> npt.NDArray[np.float32]:
        """Return all logits of a frame, (n_atoms, n_phases) float32; `settings` as in `scores`."""
        found = self.scores(frame, full=True, **settings)
        if not isinstance(found, FullScores):
            raise TypeError("all logits were asked for")
        return found.logits


def _is_length(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0.0 <= value < 1.0


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
