"""The OVITO modifier: reads the atoms, lets one worker thread evaluate the network, writes phases and scores.

`modify` follows the way of a frame: OVITO -> `ovito_input` -> logits (network, in a worker; kept for cheap settings)
-> `classify.read_out` -> `ovito_output` -> OVITO.
"""

from __future__ import annotations

import difflib
import re
import warnings
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import ovito
from ovito.data import DataCollection
from ovito.pipeline import ModifierInterface
from ovito.traits import FilePath
from traits.api import Bool, Enum, Float, Str, Union

from .errors import InputError
from .logit_cache import LogitCache, content_key
from .phases import phase_table

if TYPE_CHECKING:
    from .classify import PhaseResult
    from .ovito_input import AtomsIn
    from .worker import Cancelled, Progress

__all__ = ["MacePhaseModifier"]

_CACHE = "MacePhase.logits"


class MacePhaseModifier(ModifierInterface):
    """Give every atom its crystal phase, out of hundreds of AFLOW prototypes, with a confidence.

    Outputs per atom: `Phase` (typed), `Confidence`, `Phase Margin`, `OP_<KEY>` and, with `color_by_type`, `Color`.
    Global: attributes `MacePhase.counts.<KEY>`, `MacePhase.fractions.<KEY>`, settings and `MacePhase.warnings`; and
    the bar chart `mace-phase`.

    Parameters
    ----------
    **parameters
        Values of the parameters below, by name.

    Raises
    ------
    TypeError
        For a name that is no parameter.
    """

    species = Str("", label="Species", ovito_placeholder="particle types", ovito_group="Atoms")
    """Which particle types are alike: "" by name, "1,2 3" merges 1 and 2, "ignore" makes all alike."""

    length_scale = Union(None, Float, label="Length scale", ovito_group="Atoms")
    """Factor from the file's lengths to those of the network; None finds it from the local density."""

    only_selected = Bool(False, label="Use only selected particles", ovito_group="Atoms")
    """Classify selected atoms alone, as if the others did not exist; those get phase 0, Other."""

    phases = Str(
        "", label="Phases to consider", ovito_placeholder="all", ovito_group="Phases", ovito_invalidate_cache=False
    )
    """Keys of the phases that may be given, separated by commas; "" is all."""

    prior = Enum("uniform", "frame", label="Prior", ovito_group="Phases", ovito_invalidate_cache=False)
    """"frame" estimates the phase fractions of the frame first, so that stray atoms join the phases around them."""

    confidence_threshold = Union(
        None, Float, label="Confidence threshold", ovito_group="Phases", ovito_invalidate_cache=False
    )
    """Atoms less sure than this become Other; None takes the model's own calibrated value."""

    order_parameters = Str("auto", label="Order parameters", ovito_group="Output", ovito_invalidate_cache=False)
    """"auto": phases of at least 1 % of the atoms, at most 8; "none"; or keys separated by commas."""

    color_by_type = Bool(True, label="Color particles by phase", ovito_group="Output", ovito_invalidate_cache=False)
    """Write the colour of each atom's phase."""

    device = Enum("auto", "cpu", "cuda", label="Device", ovito_group="Model")
    """Where the network runs."""

    model_file = FilePath(
        "",
        label="Model file",
        ovito_group="Model",
        ovito_placeholder="shipped model",
        ovito_file_filter=["Model (*.safetensors)", "All files (*)"],
    )
    """A model of your own; "" is the shipped one."""

    def __init__(self, **parameters: Any) -> None:
        known = parameter_names()
        for name in parameters:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
                hint = f"did you mean {near[0]!r}? " if near else ""
                raise TypeError(
                    f"MacePhaseModifier has no parameter {name!r}; {hint}the parameters are: {', '.join(known)}"
                )
        if parameters.get("length_scale") == "auto":
            parameters["length_scale"] = None
        super().__init__(**parameters)

    def modify(
        self, data: DataCollection, *, frame: int = 0, data_cache: DataCollection | None = None, **kwargs: Any
    ) -> Generator[str | float, None, None]:
        """Classify the atoms of one frame (called by OVITO).

        Raises
        ------
        InputError
            When atoms or parameters cannot be used as given.
        ModelFileError
            When the model file cannot be used.
        """
        listed, scale = self._checked()
        yield "Reading atoms"
        from .ovito_input import read_atoms
        from .ovito_output import frequent_phases, write_result, write_settings

        atoms = read_atoms(data, species_spec=self.species, only_selected=self.only_selected)
        result, card = yield from self._classify(atoms, scale, _cache_of(data_cache))
        yield "Writing phases"
        mode = self.order_parameters.strip().lower()
        operators = (
            frequent_phases(result) if mode == "auto" else () if mode in ("", "none") else _keys(self.order_parameters)
        )
        _check_in_model(operators, result)
        write_result(data, atoms, result, listed=listed, order_parameters=operators, color_by_type=self.color_by_type)
        write_settings(data, self._settings(card), atoms.notes)
        for note in atoms.notes:
            _tell(note)
            yield note

    def _checked(self) -> tuple[tuple[str, ...], float | None]:
        """Check parameters before any work; return the keys to list always, and the length scale."""
        threshold, scale = self.confidence_threshold, self.length_scale
        if threshold is not None and not 0.0 <= threshold <= 1.0:
            raise InputError(f"confidence_threshold must lie between 0 and 1, not {threshold:g}")
        if scale is not None and not 0.0 < scale < float("inf"):
            raise InputError(f"length_scale must be a positive number or None, not {scale:g}")
        named = () if self.order_parameters.strip().lower() in ("", "auto", "none") else _keys(self.order_parameters)
        return tuple(dict.fromkeys((*_keys(self.phases), *named))), scale

    def _classify(
        self, atoms: AtomsIn, scale: float | None, cache: LogitCache
    ) -> Generator[str | float, None, tuple[PhaseResult, dict]]:
        """Take the logits from the cache or the worker, and read phases off them."""
        from .worker import run_in_worker

        key = content_key(atoms.frame, atoms.species_spec, scale, self.device, self.model_file)
        path, device, logits = self.model_file, self.device, cache.get(key)
        restrict = _keys(self.phases) or None
        prior, threshold = self.prior, self.confidence_threshold

        def work(progress: Progress, cancelled: Cancelled) -> tuple[Any, PhaseResult, dict]:
            from .classify import evaluate_logits, make_settings, read_out
            from .model_store import get_model

            model = get_model(path, device)
            values = logits
            if values is None:
                values = evaluate_logits(
                    atoms.frame,
                    model,
                    species_spec=atoms.species_spec,
                    length_scale="auto" if scale is None else scale,
                    progress=progress,
                    cancelled=cancelled,
                )
            settings = make_settings(model, prior=prior, threshold=threshold, phases=restrict)
            return values, read_out(values, model, settings), model.card

        message = "Reading phases from stored scores" if logits is not None else f"Classifying {len(atoms.frame)} atoms"
        values, result, card = yield from run_in_worker(work, message)
        if logits is None:
            cache.put(key, values)
        return result, card

    def _settings(self, card: dict) -> dict[str, str | float | int]:
        threshold, scale = self.confidence_threshold, self.length_scale
        return {
            "model": str(card.get("name", "")),
            "settings.species": self.species,
            "settings.length_scale": "auto" if scale is None else scale,
            "settings.phases": self.phases or "all",
            "settings.prior": self.prior,
            "settings.confidence_threshold": "model" if threshold is None else threshold,
            "settings.only_selected": int(self.only_selected),
        }

    def get_pipeline_short_info(self, *args: Any, **kwargs: Any) -> str:
        """Text beside the modifier in OVITO's pipeline list."""
        return self.phases.strip() or "all phases"


MacePhaseModifier.__module__ = __package__ or "ovito_mace_phase"  # scripts generated by OVITO import it from there


def parameter_names() -> tuple[str, ...]:
    """Return the names of the modifier's parameters in the order of its panel."""
    return tuple(name for name in MacePhaseModifier.class_visible_traits() if not name.startswith("_"))


def _keys(text: str) -> tuple[str, ...]:
    """Split a list of phase keys and check each; upper and lower case are alike."""
    return tuple(dict.fromkeys(phase_table().by_key(key.upper()).key for key in re.split(r"[,;\s]+", text) if key))


def _check_in_model(keys: tuple[str, ...], result: PhaseResult) -> None:
    missing = [key for key in keys if key not in {phase.key for phase in result.phases}]
    if missing:
        raise InputError(
            f"order_parameters: the model does not know {', '.join(missing)}; it was trained on other phases"
        )


def _cache_of(data_cache: DataCollection | None) -> LogitCache:
    """Return the cache that OVITO keeps for this modifier, emptied when an expensive setting or the input changes."""
    if data_cache is None:
        return LogitCache()
    if _CACHE not in data_cache.attributes:
        data_cache.attributes[_CACHE] = LogitCache()
    return data_cache.attributes[_CACHE]


def _tell(note: str) -> None:
    """Show a note: OVITO's log window shows what is printed, scripts get a warning."""
    if ovito.gui_mode:
        print(f"MACE phase classification: {note}")  # noqa: T201
    else:
        warnings.warn(note, stacklevel=2)
