"""A model in memory: network, head and calibration of one pair of files.

    NetworkFrame -> edges within r_max -> network -> head -> logits (n_atoms, n_phases), block by block
                                                          -> logP and its gradient by the positions

An atom without neighbours within r_max has no environment to classify: its logits say Other.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from ovito_mace_phase.atoms.bonds import BOND_LENGTH, BondCollector
from ovito_mace_phase.atoms.cell_grid import CellGrid
from ovito_mace_phase.atoms.frame import Frame
from ovito_mace_phase.atoms.length_scale import measured
from ovito_mace_phase.atoms.network_frame import NetworkFrame, network_frame
from ovito_mace_phase.phases import Phase
from ovito_mace_phase.runtime.errors import InputError, ModelFileError
from ovito_mace_phase.runtime.memory import memory_budget
from ovito_mace_phase.runtime.wait_for import wait_for
from ovito_mace_phase.runtime.watch import Watch

from . import model_card
from .calibration import Calibration
from .engine.device.summary import LogitRequest, LogitSummary
from .registry import model_path

if TYPE_CHECKING:
    from .engine.device.ascent import DeviceAscent
    from .engine.device.run import DeviceEngine
    from .engine.evaluator import Evaluator
    from .engine.gradient import LogDensity
    from .reference.mace.stock_mace import MaceBackend

Device = Literal["auto", "cpu", "cuda"]
Backend = Literal["engine", "mace"]
Float32 = npt.NDArray[np.float32]
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
    on_device : DeviceEngine or None
        What runs frames on a GPU; None on the CPU, with mace-torch, and where a GPU runs plain torch.
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
        self.on_device = None if oracle is not None else _device_engine(evaluator, self._alone())
        self._warm: set[tuple[int, bool]] = set()

    @classmethod
    def load(
        cls,
        model: str | Path | None = None,
        *,
        device: Device = "auto",
        backend: Backend = "engine",
        path: str | Path | None = None,
    ) -> PhaseModel:
        """Read a model.

        Parameters
        ----------
        model : str or Path, optional
            Name of a model, or path of NAME.safetensors beside NAME.json; default the shipped one (`registry`).
        device : 'auto', 'cpu' or 'cuda'
            Where the network runs ('auto': the GPU if there is one).
        backend : 'engine' or 'mace'
            'mace' evaluates the network with stock mace-torch on the CPU: an oracle for small frames.

        Raises
        ------
        ModelFileError
            When the files are missing, damaged, foreign, or name phases that this version does not have.
        InputError
            When CUDA is asked for and not there.
        """
        if path is not None:
            warnings.warn("PhaseModel.load(): the parameter 'path' is now 'model'", FutureWarning, stacklevel=2)
            model = path
        from .engine.evaluator import make_evaluator
        from .network.head import PhaseHead
        from .network.model_file import NetworkConfig, load_model

        where = _device(device)
        tensors, card = load_model(model_path(model))
        head = PhaseHead.from_tensors(tensors, card)
        phases = model_card.phases(card)
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
    def device(self) -> str:
        """What frames run on: 'cpu', 'cuda', or 'cuda, plain torch' where triton does not run and it is slower."""
        if self._oracle is not None:
            return "cpu, mace-torch"
        where = str(self.evaluator.device)
        return where if self.evaluator.device.type == "cpu" or self.on_device is not None else f"{where}, plain torch"

    @property
    def noise_scale(self) -> float:
        """The scale s of the density, network units: a step r + s^2 score removes the noise (`denoise`).

        Raises
        ------
        InputError
            For a model that was trained for labels alone: its logP is no density.
        """
        return model_card.noise_scale(self.card)

    @property
    def step_errors(self) -> npt.NDArray[np.float64]:
        """Error of the proposed steps in crystals of each phase, (n_phases,), network units; 0 where it is not known.

        The rms of s^2 score in crystals without noise, see `step_damping`. Phases that are not in the card have the
        median of those that are; Other has none.

        Raises
        ------
        ModelFileError
        """
        return model_card.step_errors(self.card, self.phases)

    def network_frame(
        self, frame: Frame, length_scale: float | None = None, cancelled: Callable[[], bool] | None = None
    ) -> NetworkFrame:
        """Normalise a frame for this network; see `atoms.network_frame`."""
        config, device = self.evaluator.weights.config, self.on_device
        return network_frame(
            frame,
            r_max=config.r_max,
            n_slots=len(config.elements),
            length_scale=length_scale,
            measure=measured if device is None else lambda here, _: device.spacing(here),
            cancelled=cancelled,
        )

    def stream_logits(
        self,
        frame: NetworkFrame,
        keep: Callable[[npt.NDArray[np.int64], Float32], None],
        *,
        memory: int | str | None = None,
        watch: Watch | None = None,
        with_bonds: bool = False,
    ) -> None:
        """Evaluate a frame of any size and hand over the logits block by block.

        Parameters
        ----------
        frame : NetworkFrame
        keep : callable
            Called with the indices (n,) of some atoms and their logits (n, n_phases) float32, from several threads;
            perhaps again for the same atoms, when a block did not fit the memory of a GPU.
        memory : int or str, optional
            See `runtime.memory.memory_budget`.
        watch : Watch, optional
        with_bonds : bool
            Give the frame its bonds, where they can be had from the edges of the network.
        """
        from .engine.forward import forward

        watch = watch or Watch()
        if self.on_device is not None:
            with self._compiling(frame, gradient=False, watch=watch):
                self.on_device.stream_logits(frame, keep, memory, watch)
            return
        grid = frame.grid()
        slots = frame.slots[grid.order]
        alone = self._alone()

        def consume(first: int, last: int, logits: Float32, n_neighbours: npt.NDArray[np.int64]) -> None:
            logits[n_neighbours == 0] = alone
            keep(grid.order[first:last], logits)

        if self._oracle is not None:
            if len(frame):
                consume(0, len(frame), self._oracle.logits(grid, slots), np.diff(grid.pairs(0, len(frame))[0]))
            return
        self._warm_up(slots, gradient=False, watch=watch)
        wanted = with_bonds and not frame.has_bonds and frame.r_max >= BOND_LENGTH
        bonds = BondCollector(grid) if wanted else None
        forward(
            grid,
            slots,
            self.evaluator,
            consume,
            memory=memory,
            progress=watch.progress,
            cancelled=watch.cancelled,
            bonds=bonds,
        )
        if bonds is not None:
            frame.give_bonds(bonds.bonds())

    @property
    def evaluates_parts(self) -> bool:
        """Whether `some_logits` can be had: on the CPU, of a network of two layers."""
        return (
            self._oracle is None and self.evaluator.device.type == "cpu" and self.evaluator.weights.config.n_layers == 2
        )

    def some_logits(
        self,
        frame: NetworkFrame,
        grid: CellGrid,
        wanted: npt.NDArray[np.int64],
        keep: Callable[[npt.NDArray[np.int64], Float32], None],
        *,
        memory: int | str | None = None,
        watch: Watch | None = None,
    ) -> None:
        """Evaluate some atoms of a frame, exactly.

        Parameters
        ----------
        frame : NetworkFrame
        grid : CellGrid
            `frame.grid()`.
        wanted : (n,) int64
            Sorted numbers of the grid, ascending.
        keep, memory, watch
            As in `stream_logits`.
        """
        from .engine.forward import threads
        from .engine.partial import Partial

        watch = watch or Watch()
        slots = frame.slots[grid.order]
        alone = self._alone()
        self._warm_up(slots, gradient=False, watch=watch)

        def consume(atoms: npt.NDArray[np.int64], logits: Float32, n_neighbours: npt.NDArray[np.int64]) -> None:
            logits[n_neighbours == 0] = alone
            keep(grid.order[atoms], logits)

        with threads(self.evaluator, watch.cancelled) as pool:
            budget = memory_budget(self.evaluator.device, memory)
            Partial(grid, slots, self.evaluator, pool, budget).run(wanted, consume)

    def logit_summary(
        self,
        frame: NetworkFrame,
        request: LogitRequest,
        *,
        memory: int | str | None = None,
        watch: Watch | None = None,
    ) -> LogitSummary | None:
        """Evaluate a frame and keep what is asked for, all of it on a GPU; None where frames do not run there.

        Parameters
        ----------
        frame : NetworkFrame
        request : LogitRequest
        memory, watch
            As in `stream_logits`.
        """
        if self.on_device is None:
            return None
        watch = watch or Watch()
        with self._compiling(frame, gradient=False, watch=watch):
            return self.on_device.summary(frame, request, memory, watch)

    def ascent(
        self,
        frame: NetworkFrame,
        *,
        longest: float,
        nearby: float,
        error: npt.NDArray[np.float64],
        free: npt.NDArray[np.bool_],
        memory: int | str | None = None,
    ) -> DeviceAscent | None:
        """Return what climbs the log-density on a GPU, None where frames do not run there.

        Parameters
        ----------
        frame : NetworkFrame
        longest, nearby, error, free
            See `engine.device.ascent.StepRule`.
        memory : int or str, optional
            As in `stream_logits`.
        """
        if self.on_device is None:
            return None
        from .engine.device.ascent import DeviceAscent, StepRule

        rule = StepRule(scale=self.noise_scale, longest=longest, nearby=nearby, error=error, free=free)
        return DeviceAscent(self.on_device, frame, rule, memory)

    def logits(
        self,
        frame: Frame | NetworkFrame,
        *,
        length_scale: float | None = None,
        memory: int | str | None = None,
        watch: Watch | None = None,
    ) -> Float32:
        """Return all logits of a frame, (n_atoms, n_phases) float32; parameters as in `stream_logits`."""
        here = frame if isinstance(frame, NetworkFrame) else self.network_frame(frame, length_scale)
        found = np.zeros((len(here), len(self.phases)), dtype=np.float32)

        def keep(atoms: npt.NDArray[np.int64], logits: Float32) -> None:
            found[atoms] = logits

        self.stream_logits(here, keep, memory=memory, watch=watch)
        return found

    def log_density_gradient(
        self,
        frame: Frame | NetworkFrame,
        *,
        length_scale: float | None = None,
        memory: int | str | None = None,
        watch: Watch | None = None,
    ) -> LogDensity:
        """Return logP of every atom and the gradient of their sum by the positions, in the length unit of the frame.

        Parameters as in `stream_logits`. Length factor and species slots are those of the frame as it is; the factor is
        not differentiated.
        """
        from .engine.gradient import LogDensity, log_density_gradient

        watch = watch or Watch()
        here = frame if isinstance(frame, NetworkFrame) else self.network_frame(frame, length_scale, watch.cancelled)
        if self.on_device is not None:
            with self._compiling(here, gradient=True, watch=watch):
                found = self.on_device.log_density_gradient(here, memory, watch)
            return LogDensity(log_density=found.log_density, gradient=found.gradient * here.factor)
        grid = here.grid()
        slots = here.slots[grid.order]
        self._warm_up(slots, gradient=True, watch=watch)
        found = log_density_gradient(
            grid, slots, self.evaluator, memory=memory, progress=watch.progress, cancelled=watch.cancelled
        )
        return LogDensity(log_density=found.log_density, gradient=found.gradient * here.factor)

    def score(
        self, frame: Frame, *, length_scale: float | None = None, memory: int | str | None = None, **watch: Any
    ) -> LogDensity:
        """Old name of `log_density_gradient`; `watch` are the callables of a `Watch`."""
        warnings.warn("PhaseModel.score is now log_density_gradient", FutureWarning, stacklevel=2)
        return self.log_density_gradient(frame, length_scale=length_scale, memory=memory, watch=Watch(**watch))

    @property
    def score_errors(self) -> npt.NDArray[np.float64]:
        """Old name of `step_errors`."""
        warnings.warn("PhaseModel.score_errors is now step_errors", FutureWarning, stacklevel=2)
        return self.step_errors

    def _alone(self) -> Float32:
        """Return the logits of an atom without neighbours, (n_phases,)."""
        return np.array([0.0 if phase.key == "OTHER" else _ALONE for phase in self.phases], dtype=np.float32)

    @contextmanager
    def _compiling(self, frame: NetworkFrame, *, gradient: bool, watch: Watch) -> Iterator[None]:
        """Announce that the first frame of its kind on a GPU has kernels compiled."""
        from .engine.warm_up import announced

        need = (min(int(np.count_nonzero(np.bincount(frame.slots))), 3), gradient)
        if need in self._warm:
            yield
            return
        with announced(watch.status):
            yield
        self._warm.add(need)

    def _warm_up(self, slots: npt.NDArray[np.int64], *, gradient: bool, watch: Watch) -> None:
        """Compile what is needed, once; above two species the same kernels serve any number."""
        from .engine.warm_up import warm_up

        n_species = int(np.count_nonzero(np.bincount(slots)))
        need = (min(n_species, 3), gradient)

        def work() -> None:
            warm_up(self.evaluator, need[0], gradient=gradient, status=watch.status)
            self._warm.add(need)

        if n_species and need not in self._warm:
            wait_for(("kernels", id(self), need), work, watch.cancelled)


def _device_engine(evaluator: Evaluator, alone: Float32) -> DeviceEngine | None:
    """Return what runs frames on a GPU, where the operations are kernels for it."""
    if evaluator.device.type == "cpu":
        return None
    from .network.operations.torch_operations import TorchOperations

    if isinstance(evaluator.operations, TorchOperations):
        return None
    from .engine.device.run import DeviceEngine

    return DeviceEngine(evaluator, alone)


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
