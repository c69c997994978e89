"""The command line with a fake model, also in the worker processes that read this script again."""

from __future__ import annotations

import os
import sys

import fake_model

_fake = fake_model.FakeModel(float(os.environ.get("FAKE_SECONDS", "0")))


def use_fake() -> None:
    """Let this process classify with a fake."""
    fake_model.use(_fake)


use_fake()

if __name__ == "__main__":
    from ovito_mace_phase.cli import main

    main(sys.argv[1:])
