"""What denoising did to a frame, in one line, and whether that is as it should be.

    u = rms displacement over V^(1/3)           V: volume per atom
    m = rms of the last step over rms displacement

Measured with the shipped model after 8 steps: crystals of Cu, NaCl, Ni3Al, Si at 0.5 to 0.95 of melting and ice Ih have
u 0.06 to 0.16 and m up to 0.05; a crystal half molten 0.16 and 0.09; a melt 0.14 and 0.13: its atoms find no sites.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MOST_MOVED = 0.2
"""u of a frame that was moved by no more than thermal noise."""
MOST_LEFT = 0.07
"""m of a frame that has nearly come to rest."""


def denoised_text(attributes: Mapping[str, Any]) -> str:
    """Return the line for the attributes `MacePhase.denoising.*` of a frame; "" where it was not denoised."""
    if "MacePhase.denoising.steps" not in attributes:
        return ""
    steps, rms, unit, last = (
        attributes[f"MacePhase.denoising.{name}"] for name in ("steps", "rms_displacement", "length", "last_step")
    )
    moved, left = rms / unit, last / rms if rms > 0.0 else 0.0
    if attributes["MacePhase.denoising.converged"]:
        rest = "at rest"
    elif left <= MOST_LEFT:
        rest = f"nearly at rest, {100 * left:.0f} % of that in the last step"
    else:
        rest = (
            f"not at rest yet, {100 * left:.0f} % of that in the last step: as in a melt; of a crystal, take more steps"
        )
    if moved > MOST_MOVED:
        rest += f"; more than the thermal motion of a crystal (up to {MOST_MOVED:g})"
    return (
        f"denoised in {steps} step{'' if steps == 1 else 's'}: atoms moved by {rms:.3g} rms in the unit of the file, "
        f"{moved:.2g} times the cube root of the volume per atom; {rest}"
    )
