"""Run a script as version 0.1 did: with its model, and without verification, which is on by default since 0.2.

python tests/helpers/as_in_0_1.py SCRIPT
"""

from __future__ import annotations

import runpy
import sys

from ovito_mace_phase.classification.settings import Settings
from ovito_mace_phase.model import registry

_check = Settings.__post_init__


def _unverified(settings: Settings) -> None:
    object.__setattr__(settings, "verify", "off")
    _check(settings)


if __name__ == "__main__":
    Settings.__post_init__ = _unverified
    registry.DEFAULT = "mace-phase-6"
    runpy.run_path(sys.argv[1], run_name="__main__")
