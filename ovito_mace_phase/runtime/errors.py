"""Errors with a message for the user: what is wrong, which value, and what to do about it."""

from __future__ import annotations


class MacePhaseError(Exception):
    """Base of all errors raised on purpose; the command line prints the message and exits with status 2."""


class InputError(MacePhaseError, ValueError, RuntimeError):
    """A frame or a parameter cannot be used as given; a RuntimeError too, which is what OVITO's own modifiers raise."""


class OverlapError(InputError):
    """Atoms of a frame lie at the same place; `atoms.sites` deals with them."""


class TooManySpeciesError(InputError):
    """A frame has more species than the network tells apart; `atoms.sites` merges some where it may.

    Attributes
    ----------
    most : int
        How many it tells apart.
    """

    def __init__(self, message: str, most: int) -> None:
        super().__init__(message)
        self.most = most


class ModelFileError(MacePhaseError, ValueError):
    """A model file is missing, corrupt, of a foreign kind or of a newer format."""


class MissingPackageError(MacePhaseError, ImportError):
    """An optional package is not installed; the message holds the pip command."""


class CancelledError(MacePhaseError):
    """The caller asked to stop; nothing was written."""


class OutputError(MacePhaseError):
    """Results cannot be written; what is finished is kept."""


class WorkerLostError(MacePhaseError):
    """Worker processes ended again and again, or the cluster is gone; what is finished is kept."""
