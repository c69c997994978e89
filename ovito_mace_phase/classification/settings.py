"""The only list of user parameters: the modifier, `classify` and the command line share these names.

None means automatic. Made once, where the user's input arrives, and handed down unchanged.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from math import inf
from typing import TYPE_CHECKING, Any, Literal, get_args

from ovito_mace_phase.runtime.errors import InputError

if TYPE_CHECKING:
    from ovito_mace_phase.phases import PhaseTable

PriorName = Literal["local", "uniform", "frame"]
Prior = PriorName | Mapping[str, float]
Compatibility = Literal["none", "PTM", "CNA"]
Device = Literal["auto", "cpu", "cuda"]
Backend = Literal["engine", "mace"]
Verify = Literal["auto", "off"]
Defects = Literal["other", "phase"]
Sampling = Literal["auto", "off"]
PRIORS: tuple[PriorName, ...] = get_args(PriorName)
VERIFY: tuple[Verify, ...] = get_args(Verify)
DEFECTS: tuple[Defects, ...] = get_args(Defects)
SAMPLING: tuple[Sampling, ...] = get_args(Sampling)
BY_NAME = "by name"
"""Text for species=None."""
MOST_STEPS = 1000
"""Of denoising."""
OF_TEMPLATES = ("output_orientation", "output_deformation_gradient", "output_interatomic_distance", "output_site")
"""Output that there is of verified labels alone."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The parameters of one analysis.

    Attributes
    ----------
    species : str or None
        Which particle types count as one species: "auto" merges types that are at random on one set of sites or only
        mark regions (`atoms.interchangeable`), None by name, "1,2 3" merges types 1 and 2, "ignore" merges all.
    length_scale : float or None
        Cube root of the volume per atom, in the file's unit; None takes it from the local density of the frame.
    only_selected : bool
        Classify selected atoms alone, as if the others did not exist (in OVITO).
    phases : tuple of str or None
        Keys of the phases to choose from, besides OTHER; None: all. With a choice the density thresholds of single
        phases are off: atoms of phases left out go to the nearest one.
    prior : 'local', 'frame', 'uniform' or mapping
        How similar phases are told apart. 'local' favours the phases of neighbouring atoms, 'frame' those common in the
        frame, 'uniform' uses the logits alone; a mapping gives weights by key (phases not named have weight 1).
    confidence_threshold : float
        Atoms with less confidence become Other; 0 to 1.
    verify : 'auto' or 'off'
        Hold the labels against the templates of the phases, see `classification.geometry`; 'off': the network alone.
    rmsd_cutoff : float
        Largest deviation from a template, in units of the mean distance of its neighbours; 0 follows the thermal level
        of the crystal at hand.
    defects : 'other' or 'phase'
        What an atom is whose own shell of neighbours is incomplete or crowded: Other, or the phase around it.
    sampling : 'auto' or 'off'
        'auto': in a large frame of well-known lattices, where no logits are to be written, the network looks at a
        sample and at what does not fit (`classification.sampled`); 'off': at every atom.
    denoise_steps : int
        Remove the thermal noise first, in at most this many steps; 0: off.
    apply_to_positions : bool
        Move the particles to their denoised positions (in OVITO).
    order_parameters : tuple of str or None
        Keys of the phases whose logits are given; None: phases of at least 1 % of the atoms, at most 8.
    distances : bool
        Give the distance from the ideal crystal of the phase for every order parameter.
    output_rmsd, output_orientation, output_deformation_gradient, output_interatomic_distance, output_site : bool
        Write what the templates say of every atom (in OVITO); `PhaseResult` has all of it. The rmsd, on by default, is
        left out with ``verify="off"``, the others are refused.
    color_by_type : bool
        Colour the particles by phase (in OVITO).
    compatibility : 'none', 'PTM' or 'CNA'
        Also write what that modifier writes (in OVITO).
    further_phases : bool
        Keep phases that PTM or CNA lack in what is written for compatibility.
    structure_settings : str
        Phases switched off and colours, as JSON (see `plugin.structure_list`).
    model : str or None
        Name of a model, or path of a model file; None: the default model.
    device : 'auto', 'cpu' or 'cuda'
        Where the network runs.
    backend : 'engine' or 'mace'
        'mace' evaluates the network with stock mace-torch, to check the engine: small frames only, and slow.
    memory : int, str or None
        Bytes that the features of the network may take, or a text such as "2G" (see `runtime.memory`).
    keep_logits : bool or None
        Keep the logits of all phases; None: where they take no more than 512 MB.

    Raises
    ------
    InputError
        For a value that cannot be used, whatever the frame.
    """

    species: str | None = "auto"
    length_scale: float | None = None
    only_selected: bool = False
    phases: tuple[str, ...] | None = None
    prior: Prior = "local"
    confidence_threshold: float = 0.0
    verify: Verify = "auto"
    rmsd_cutoff: float = 0.0
    defects: Defects = "other"
    sampling: Sampling = "auto"
    denoise_steps: int = 0
    apply_to_positions: bool = False
    order_parameters: tuple[str, ...] | None = None
    distances: bool = False
    output_rmsd: bool = True
    output_orientation: bool = False
    output_deformation_gradient: bool = False
    output_interatomic_distance: bool = False
    output_site: bool = False
    color_by_type: bool = True
    compatibility: Compatibility = "none"
    further_phases: bool = True
    structure_settings: str = ""
    model: str | None = None
    device: Device = "auto"
    backend: Backend = "engine"
    memory: int | str | None = None
    keep_logits: bool | None = None

    def __post_init__(self) -> None:
        for name, kind in (
            ("length_scale", float),
            ("confidence_threshold", float),
            ("rmsd_cutoff", float),
            ("denoise_steps", int),
        ):
            object.__setattr__(self, name, _number(name, getattr(self, name), kind))
        if self.length_scale is not None and not 0.0 < self.length_scale < inf:
            raise InputError(
                "length_scale must be a positive number (the cube root of the volume per atom), not "
                f"{self.length_scale:g}"
            )
        if not 0.0 <= self.confidence_threshold <= 1.0:
            raise InputError(f"the confidence threshold must lie between 0 and 1, not {self.confidence_threshold}")
        for name, known in (("verify", VERIFY), ("defects", DEFECTS), ("sampling", SAMPLING)):
            if getattr(self, name) not in known:
                raise InputError(f"{name} must be {' or '.join(map(repr, known))}, not {getattr(self, name)!r}")
        if not 0.0 <= self.rmsd_cutoff <= 1.0:
            raise InputError(f"rmsd_cutoff must lie between 0 (automatic) and 1, not {self.rmsd_cutoff:g}")
        wanted = [name for name in OF_TEMPLATES if getattr(self, name)]
        if self.verify == "off" and wanted:
            raise InputError(f"{', '.join(wanted)}: no template is fitted with verify='off'; use verify='auto' for it")
        if not 0 <= self.denoise_steps <= MOST_STEPS:
            raise InputError(f"the number of denoising steps must be 0 to {MOST_STEPS}, not {self.denoise_steps}")
        if not isinstance(self.prior, Mapping) and self.prior not in PRIORS:
            raise InputError(
                f"prior must be 'local', 'uniform', 'frame' or a mapping of phase keys to weights, not {self.prior!r}"
            )


_NO_PARAMETERS = ("backend", "memory", "keep_logits")
PARAMETERS = tuple(field.name for field in fields(Settings) if field.name not in _NO_PARAMETERS)
"""Names of the parameters of the modifier."""


def parse_keys(text: str, table: PhaseTable) -> tuple[str, ...]:
    """Return the phase keys of a list such as "FCC, hcp", each once.

    Raises
    ------
    InputError
        For a key that the table lacks, with near matches.
    """
    return tuple(dict.fromkeys(table.by_key(key.upper()).key for key in _split(_with_keys(text, table))))


def parse_phases(text: str, table: PhaseTable) -> tuple[str, ...] | None:
    """Return the phases that a text names, None where it names none: all."""
    return parse_keys(text, table) or None


def parse_order_parameters(text: str, table: PhaseTable) -> tuple[str, ...] | None:
    """Return what a text asks for: "auto" None, "none" nothing, otherwise the keys it names."""
    mode = text.strip().lower()
    if mode == "auto":
        return None
    return () if mode in ("", "none") else parse_keys(text, table)


def from_parameters(parameters: Mapping[str, Any], table: PhaseTable) -> Settings:
    """Return the settings that parameters ask for, as the panel and the command line write them.

    Parameters
    ----------
    parameters : mapping
        Names as in `Settings`. "" stands for None, "auto" too for `length_scale` and `order_parameters`, "by name" for
        `species`; phases are one text such as "FCC, HCP" or a sequence of keys.
    table : PhaseTable

    Raises
    ------
    InputError
        For a value that cannot be used.
    """
    values = dict(parameters)
    values["model"] = str(values.get("model") or "") or None
    species = str(values.get("species", "auto") or "").strip()
    values["species"] = None if species.lower() in ("", BY_NAME) else species
    if values.get("length_scale") in ("auto", ""):
        values["length_scale"] = None
    phases, operators = values.get("phases"), values.get("order_parameters", "auto")
    values["phases"] = parse_phases(_text(phases) if phases else "", table)
    values["order_parameters"] = None if operators is None else parse_order_parameters(_text(operators), table)
    return Settings(**values)


def to_parameters(settings: Settings) -> dict[str, Any]:
    """Return the parameters of the modifier that stand for the settings: the inverse of `from_parameters`."""
    values = {name: value for name, value in vars(settings).items() if name in PARAMETERS}
    operators = settings.order_parameters
    return values | {
        "species": settings.species or BY_NAME,
        "phases": ", ".join(settings.phases or ()),
        "order_parameters": "auto" if operators is None else ", ".join(operators) or "none",
        "model": settings.model or "",
    }


def _number(name: str, value: Any, kind: type[float] | type[int]) -> float | int | None:
    """Return a value as a plain number; InputError for one that is none."""
    if value is None and name == "length_scale":
        return None
    try:
        number = kind(value)
        if isinstance(value, bool) or (kind is int and float(value) != number):
            raise ValueError
    except (TypeError, ValueError):
        what = "a whole number" if kind is int else "a number"
        raise InputError(f"{name} must be {what}, not {value!r}") from None
    return number


def _text(keys: str | Sequence[str] | None) -> str:
    return keys if isinstance(keys, str) else ", ".join(keys or ()) or ("none" if keys is not None else "")


def _with_keys(text: str, table: PhaseTable) -> str:
    """Put keys in the place of PTM's names of more than one word."""
    for name, key in table.names_of_ptm.items():
        if " " in name:
            words = r"\s+".join(map(re.escape, name.split()))
            text = re.sub(rf"(?<!\w){words}(?!\w)", key, text, flags=re.IGNORECASE)
    return text


def _split(text: str) -> list[str]:
    return [word for word in re.split(r"[,;\s]+", text) if word]
