"""Settings of the whole training: its stages, and what each of them is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from ovito_mace_phase.lab.samples.source import SampleMix

from .class_head import ClassFitSettings
from .end_to_end import EndToEndSettings
from .new_run import NewRunSettings

Stage = Literal["new", "head", "end-to-end", "classes"]
STAGES: tuple[Stage, ...] = get_args(Stage)


@dataclass(frozen=True, kw_only=True)
class PipelineSettings:
    """What decides the model besides the data and the start.

    Attributes
    ----------
    stages : tuple of 'new', 'head', 'end-to-end', 'classes'
        Stages to go through; empty: all that the start needs, 'head' for a converted network alone.
    new : NewRunSettings
        Of the stage 'new'.
    grown : bool
        Whether that begins with the weights of the start, whose degree may be lower, not with random ones.
    n_hidden, dropout : int, float
        Width of the hidden layers of a new head, and its dropout in the first fit.
    head, classes : ClassFitSettings
        Of the first and of the last fit of the class branch.
    training : EndToEndSettings
        Its `mix` says how samples are drawn in all stages.
    rejected : float
        Share of the atoms of a phase, at the largest noise or at the melting temperature, that may fall below its
        density floor and so become Other; and of the crystal atoms of any source below the threshold for all phases.
    hot_weight : float
        Weight of the hot crystals of the training part in the fit of the temperature.
    per_phase, keep, background : int
        Samples of every phase, atoms of each and samples of background in each part that is scored.
    trust_samples : int
        Samples that the trust in fitted templates is learned from (`fit_trust`); 0: that of mace-phase-6.
    seed : int
        Of the split, where the start does not have one.
    name : str
    """

    stages: tuple[Stage, ...] = ()
    new: NewRunSettings = field(default_factory=NewRunSettings)
    grown: bool = False
    n_hidden: int = 512
    dropout: float = 0.1
    head: ClassFitSettings = field(
        default_factory=lambda: ClassFitSettings(
            n_samples=6000, keep=24, passes=8, first_rate=2e-3, rate=2e-3, averaged=0.5, emphasis=0.0
        )
    )
    training: EndToEndSettings = field(default_factory=EndToEndSettings)
    classes: ClassFitSettings = field(default_factory=ClassFitSettings)
    rejected: float = 0.005
    hot_weight: float = 1.0
    per_phase: int = 9
    keep: int = 24
    background: int = 300
    trust_samples: int = 3000
    seed: int = 0
    name: str = "mace-phase"

    @property
    def mix(self) -> SampleMix:
        """How samples are drawn: that of the stage that made the network."""
        return self.new.mix if "new" in self.stages else self.training.mix
