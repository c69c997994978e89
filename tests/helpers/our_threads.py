"""Which threads of this package are at work."""

from __future__ import annotations

import threading

from ovito_mace_phase.runtime.threads import idle_threads


def threads_at_work() -> list[str]:
    """Names of all of our threads but those that wait for the next pool."""
    waiting = idle_threads()
    return [t.name for t in threading.enumerate() if t.name.startswith("mace-phase") and t not in waiting]
