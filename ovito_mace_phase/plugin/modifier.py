"""The OVITO modifier: reads the atoms, lets one worker thread evaluate the network, writes phases and order parameters.

OVITO -> `read_atoms` -> `session` (the stages of `classification`, in a worker thread) -> `write_results` -> OVITO
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import ovito
from ovito.data import DataCollection
from ovito.pipeline import ModifierInterface
from ovito.traits import FilePath, action_handler
from traits.api import Bool, Button, Enum, Float, Int, Range, Str, Union

from ovito_mace_phase.classification.settings import (
    DEFECTS,
    MOST_STEPS,
    PARAMETERS,
    PRIORS,
    SAMPLING,
    VERIFY,
    Settings,
    from_parameters,
)
from ovito_mace_phase.model.store import forget, get_card, get_table
from ovito_mace_phase.phases import PhaseTable
from ovito_mace_phase.runtime.hearing import tell

from .card_text import card_text
from .foreign_parameters import FOREIGN, check_parameter
from .structure_list import StructureList, StructureSettings, Type

if TYPE_CHECKING:
    from .logit_cache import LogitCache

__all__ = ["MacePhaseModifier"]

_CACHE = "MacePhase.logits"
_MOST_NAMED = 4  # phases in the pipeline list
_OLD_NAMES = {"model_file": "model"}
"""Parameters of version 0.1 -> their names today."""


class MacePhaseModifier(ModifierInterface):
    """Assign every atom a crystal phase, out of hundreds of AFLOW prototypes, and a confidence.

    Outputs per atom: `Phase` (typed), `Confidence`, `OP_<KEY>`, `Phase Margin`, `RMSD` and, with `color_by_type`,
    `Color`. With `denoise_steps` also `Denoised Position`, `Denoising Displacement` and `Phase Before Denoising`; with
    `distances` `Distance_<KEY>`; on request `Orientation`, `Elastic Deformation Gradient`, `Interatomic Distance` and
    `Site` (typed).
    Global: attributes `MacePhase.counts.<KEY>`, `MacePhase.fractions.<KEY>`, settings, `MacePhase.species` ("1,2 | 3":
    types 1 and 2 count as one), `MacePhase.other.<REASON>` and `MacePhase.warnings`; the bar charts `mace-phase` and
    `mace-other`, the histogram `mace-rmsd`; with denoising the table `mace-denoising` of its steps.

    Parameters
    ----------
    **parameters
        Values of the parameters below, by name.

    Raises
    ------
    TypeError
        For a name that is no parameter.
    """

    species = Str("auto", label="Species", ovito_placeholder="by name", ovito_group="Atoms")
    """Which particle types count as one species: "auto" merges types that are at random on one set of sites or only
    mark regions, "by name" (or "") none, "1,2 3" types 1 and 2, "ignore" all."""

    length_scale = Union(None, Float, label="Length scale", ovito_group="Atoms")
    """Cube root of the volume per atom, in the file's unit; None takes it from the local density of the frame."""

    only_selected = Bool(False, label="Use only selected particles", ovito_group="Atoms")
    """Classify the selected atoms as if the others did not exist; the others get phase 0, Other."""

    phases = Str(
        "", label="Phases to consider", ovito_placeholder="all", ovito_group="Phases", ovito_invalidate_cache=False
    )
    """Keys of the phases to choose from, separated by commas; "" is all. Other is always possible."""

    prior = Enum(*PRIORS, label="Prior", ovito_group="Phases", ovito_invalidate_cache=False)
    """How similar phases are told apart: "local" favours the phases of neighbouring atoms, "frame" those common in the
    frame, "uniform" uses the logits alone."""

    confidence_threshold = Range(
        0.0, 1.0, 0.0, label="Confidence threshold", ovito_group="Phases", ovito_invalidate_cache=False
    )
    """Atoms with less confidence become Other; 0 to 1."""

    verify = Enum(*VERIFY, label="Verify with templates", ovito_group="Verification", ovito_invalidate_cache=False)
    """Hold the labels against the templates of the phases; "off", the network alone, gives what version 0.1 gave, and
    phases to atoms that fit none: in a vapour, at surfaces."""

    rmsd_cutoff = Range(
        0.0, 1.0, 0.0, label="RMSD cutoff (0: automatic)", ovito_group="Verification", ovito_invalidate_cache=False
    )
    """Largest deviation from a template. 0 follows the thermal level of the crystal; set it, PTM's default is 0.1, to
    compare frames by one fixed cutoff."""

    defects = Enum(*DEFECTS, label="Defects are", ovito_group="Verification", ovito_invalidate_cache=False)
    """What atoms at surfaces, boundaries and vacancies are: "other", as with PTM and CNA, or the "phase" around them:
    for the amount of a phase in small grains and particles."""

    denoise_steps = Range(0, MOST_STEPS, 0, label="Denoising steps (0: off)", ovito_group="Denoising")
    """Remove the thermal noise first, in at most this many steps (8 is a good number); phases, confidence and order
    parameters then belong to the final positions."""

    apply_to_positions = Bool(
        False, label="Move particles to denoised positions", ovito_group="Denoising", ovito_invalidate_cache=False
    )
    """Replace the positions, so that modifiers further down see the denoised ones; off: only `Denoised Position` is
    written."""

    sampling = Enum(*SAMPLING, label="Sampling", ovito_group="Output", ovito_invalidate_cache=False)
    """"auto": where no order parameters are to be written the network looks at a sample of a large frame of well-known
    lattices, and at what does not fit; "off": at every atom."""

    order_parameters = Str("auto", label="Order parameters", ovito_group="Output", ovito_invalidate_cache=False)
    """Phases whose logits are written as `OP_<KEY>`: "auto", those of at least 1 % of the atoms, at most 8; "none"; or
    keys separated by commas."""

    distances = Bool(False, label="Distances to the phases", ovito_group="Output", ovito_invalidate_cache=False)
    """Write `Distance_<KEY>` for every order parameter: rms displacement from the ideal crystal of the phase."""

    output_rmsd = Bool(True, label="RMSD", ovito_group="Output", ovito_invalidate_cache=False)
    """Write `RMSD`, the deviation from the template, as PTM defines it; off saves 8 bytes an atom."""

    output_orientation = Bool(False, label="Lattice orientations", ovito_group="Output", ovito_invalidate_cache=False)
    """Write `Orientation`, a quaternion: for grains and textures."""

    output_deformation_gradient = Bool(
        False, label="Elastic deformation gradients", ovito_group="Output", ovito_invalidate_cache=False
    )
    """Write `Elastic Deformation Gradient`: for rotation and strain of the crystal at every atom."""

    output_interatomic_distance = Bool(
        False, label="Interatomic distances", ovito_group="Output", ovito_invalidate_cache=False
    )
    """Write `Interatomic Distance`, the shortest distance of the fitted template: for expansion and compression."""

    output_site = Bool(False, label="Crystal sites", ovito_group="Output", ovito_invalidate_cache=False)
    """Write `Site`, the Wyckoff site of the phase that the atom is on: for sublattices, antisites, ordering."""

    color_by_type = Bool(True, label="Color particles by phase", ovito_group="Output", ovito_invalidate_cache=False)
    """Write the colour of each atom's phase as `Color`."""

    compatibility = Enum(
        "none", "PTM", "CNA", label="Output like", ovito_group="Compatibility", ovito_invalidate_cache=False
    )
    """Also write what PTM or CNA write: `Structure Type` with their ids, their attributes, the table `structures`."""

    further_phases = Bool(True, label="Further phases too", ovito_group="Compatibility", ovito_invalidate_cache=False)
    """Keep phases that PTM or CNA lack in `Structure Type`, with ids from 100; off: they become Other there."""

    structure_settings = Str("", visible=False, ovito_invalidate_cache=False)
    """Phases switched off and colours changed by the user, as `structures` writes them."""

    device = Enum("auto", "cpu", "cuda", label="Device", ovito_group="Model")
    """Where the network runs: "auto" takes a CUDA GPU if torch finds one."""

    model = FilePath(
        "",
        label="Model",
        ovito_group="Model",
        ovito_placeholder="shipped model",
        ovito_file_filter=["Model (*.safetensors)", "All files (*)"],
    )
    """Name of a model, or path of a model file; "" is the shipped one."""

    reload_model = Button(ovito_label="Reload model", ovito_group="Model", ovito_invalidate_cache=False)
    """Button: read the model file again and evaluate anew."""

    show_model_card = Button(ovito_label="Show model card", ovito_group="Model", ovito_invalidate_cache=False)
    """Button: show name, number of phases, accuracy, licence and citation of the model."""

    times_reloaded = Int(0, visible=False, transient=True)
    """Changed by the button, so that OVITO evaluates the pipeline anew."""

    def __init__(self, **parameters: Any) -> None:
        known = parameter_names()
        for old, new in _OLD_NAMES.items():
            if old in parameters:
                if new in parameters:
                    raise TypeError(f"MacePhaseModifier: {old!r} is the old name of {new!r}; give one of them")
                _renamed(old, new)
                parameters[new] = parameters.pop(old)
        parameters = {
            name: value
            for name, value in parameters.items()
            if name in (*known, "structure_settings") or not check_parameter(name, value, known)
        }
        if parameters.get("length_scale") == "auto":
            parameters["length_scale"] = None
        super().__init__(**parameters)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _OLD_NAMES:
            _renamed(name, _OLD_NAMES[name])
            name = _OLD_NAMES[name]
        if name in FOREIGN:
            check_parameter(name, value, parameter_names())
        else:
            super().__setattr__(name, value)

    Type = Type

    def __getattr__(self, name: str) -> Any:
        # not a property: OVITO would take a property of the class for one of its parameters
        if name == "structures":
            return StructureList(self, get_table(self.model))
        if name in _OLD_NAMES:
            _renamed(name, _OLD_NAMES[name])
            return getattr(self, _OLD_NAMES[name])
        if name in FOREIGN:
            raise AttributeError(f"MacePhaseModifier has no parameter {name!r}: {FOREIGN[name]}")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

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
        for report in self._stages(data, data_cache):
            tell(report)
            yield report

    def _stages(self, data: DataCollection, data_cache: DataCollection | None) -> Generator[str | float, None, None]:
        """Do what `modify` does."""
        yield "Reading atoms"
        from .hints import hints_of
        from .ptm_cna_output import write_compatible
        from .read_atoms import read_atoms
        from .remedies import notes_of
        from .session import evaluate
        from .write_geometry import write_geometry, write_reasons
        from .write_results import write_denoised, write_result, write_settings

        table = get_table(self.model)
        settings = self.settings(table)
        structures = StructureSettings(settings.structure_settings, table)
        atoms = read_atoms(data, species=settings.species, only_selected=settings.only_selected)
        result = yield from evaluate(atoms.frame, settings, _cache_of(data_cache))
        yield "Writing phases"
        write_result(data, atoms, result, table=table, structures=structures)
        write_geometry(data, atoms, result, table=table, structures=structures)
        write_reasons(data, atoms, result, table=table, structures=structures)
        write_denoised(data, atoms, result, table=table, structures=structures)
        if settings.compatibility != "none":
            write_compatible(data, result, table=table, structures=structures)
        notes, leave_out = notes_of(data, atoms, result)
        hints = hints_of(data, result)
        write_settings(data, result, self._shown_settings(), notes, leave_out, hints)
        if result.merged:
            yield f"Types that are alike count as one species: {result.species}"
        for note in notes:
            _tell(note)
            yield note
        for hint in hints:
            yield f"Hint: {hint}"

    def settings(self, table: PhaseTable) -> Settings:
        """Return the parameters, checked; "" is None, automatic.

        Raises
        ------
        InputError
            For a value that cannot be used.
        """
        return from_parameters({name: getattr(self, name) for name in PARAMETERS}, table)

    @action_handler("reload_model")
    def reload(self) -> None:
        """Drop the model from memory and let OVITO evaluate the pipeline again."""
        forget(self.model)
        self.times_reloaded += 1

    @action_handler("show_model_card")
    def show_card(self) -> None:
        """Show what the model is: in a window where there is one, printed elsewhere.

        Raises
        ------
        ModelFileError
            When the card cannot be read; OVITO shows the message.
        """
        _show("Model card", card_text(get_card(self.model)))

    def _shown_settings(self) -> dict[str, str | float | int]:
        return {
            "species": self.species,
            "length_scale": "auto" if self.length_scale is None else self.length_scale,
            "phases": self.phases or "all",
            "prior": self.prior,
            "confidence_threshold": self.confidence_threshold,
            "verify": self.verify,
            "rmsd_cutoff": self.rmsd_cutoff or "auto",
            "defects": self.defects,
            "only_selected": int(self.only_selected),
            "denoise_steps": self.denoise_steps,
            "compatibility": self.compatibility,
        }

    def get_pipeline_short_info(self, *args: Any, **kwargs: Any) -> str:
        """Text beside the modifier in OVITO's pipeline list: what differs from the defaults."""
        named = [key for key in re.split(r"[,;\s]+", self.phases) if key]
        parts = [", ".join(named) if len(named) <= _MOST_NAMED else f"{len(named)} phases"] if named else ["all phases"]
        if self.confidence_threshold:
            parts.append(f"confidence \u2265 {self.confidence_threshold:g}")
        if self.verify == "off":
            parts.append("not verified")
        elif self.rmsd_cutoff:
            parts.append(f"RMSD \u2264 {self.rmsd_cutoff:g}")
        if self.verify != "off" and self.defects == "phase":
            parts.append("with defects")
        if self.denoise_steps:
            parts.append(f"denoised ({self.denoise_steps})")
        if self.only_selected:
            parts.append("selected only")
        if self.compatibility != "none":
            parts.append(f"like {self.compatibility}")
        if self.model:
            parts.append(re.split(r"[/\\]", self.model)[-1].removesuffix(".safetensors"))
        return ", ".join(parts)


MacePhaseModifier.__module__ = "ovito_mace_phase"  # scripts generated by OVITO import it from there


def parameter_names() -> tuple[str, ...]:
    """Return the names of the modifier's parameters in the order of its panel."""
    return tuple(MacePhaseModifier.class_visible_traits())  # type: ignore[attr-defined]


def _cache_of(data_cache: DataCollection | None) -> LogitCache:
    """Return the cache that OVITO keeps for this modifier, emptied when an expensive setting or the input changes."""
    from .logit_cache import LogitCache

    if data_cache is None:
        return LogitCache()
    if _CACHE not in data_cache.attributes:
        data_cache.attributes[_CACHE] = LogitCache()
    return data_cache.attributes[_CACHE]


def _tell(note: str) -> None:
    """Show a note: OVITO's log window shows what is printed, scripts get a warning."""
    if ovito.gui_mode:  # type: ignore[attr-defined]
        print(f"MACE phase classification: {note}")  # noqa: T201
    else:
        warnings.warn(note, stacklevel=2)


def _show(title: str, text: str) -> None:
    """Show a text in a window of OVITO Pro, and print it where there is none."""
    if ovito.gui_mode:  # type: ignore[attr-defined]
        try:
            from PySide6.QtWidgets import QMessageBox
        except ImportError:
            pass
        else:
            QMessageBox.information(None, title, text)
            return
    print(text)  # noqa: T201 - what the button is for


def _renamed(old: str, new: str) -> None:
    warnings.warn(f"MacePhaseModifier: the parameter {old!r} is now {new!r}", FutureWarning, stacklevel=3)
