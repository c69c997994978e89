"""Colours of the phases: PTM's for its own, the rest spread in OKLCH, a function of the id alone.

Hues step by the golden ratio, lightness and chroma cycle with periods that share no factor, so neighbours in the
table differ in hue and a colour stays the same when phases are appended. After RETURN steps, a Fibonacci number, the
hues come back: from then on colours are lighter, twice at most. Phases that users add have those of
the first turn.
OKLab: B. Ottosson, "A perceptual color space for image processing" (2020).
"""

from __future__ import annotations

import numpy as np

from .record import FIRST_OWN_ID

GOLDEN = 0.6180339887498949
LIGHTNESS = (0.72, 0.54, 0.84, 0.64, 0.46)
CHROMA = (0.150, 0.095, 0.200)
RETURN, LIGHTER, MOST_TURNS = 610, 0.05, 2


def spread_color(id: int) -> tuple[float, float, float]:  # noqa: A002 - the name of the field
    """Return red, green, blue in 0 ... 1 for a phase id of 100 or more, rounded to three digits."""
    n = id - 100
    hue = 2 * np.pi * ((0.25 + n * GOLDEN) % 1.0)
    turn = 0 if id >= FIRST_OWN_ID else min(n // RETURN, MOST_TURNS)
    lightness = LIGHTNESS[n % len(LIGHTNESS)] + LIGHTER * turn
    chroma = CHROMA[n % len(CHROMA)]
    return oklch_color(lightness, chroma, hue)


def oklch_color(lightness: float, chroma: float, hue: float) -> tuple[float, float, float]:
    """Return red, green, blue in 0 ... 1 of a colour in OKLCH (hue in radians), rounded to three digits.

    The chroma is made smaller until a screen can show the colour, so that no two are clipped onto one another.
    """
    rgb = _oklch_to_linear(lightness, chroma, hue)
    while rgb.min() < 0 or rgb.max() > 1:
        chroma *= 0.97
        rgb = _oklch_to_linear(lightness, chroma, hue)
    red, green, blue = (round(float(value), 3) for value in _gamma(rgb))
    return red, green, blue


def _oklch_to_linear(lightness: float, chroma: float, hue: float) -> np.ndarray:
    lab = np.array([lightness, chroma * np.cos(hue), chroma * np.sin(hue)])
    to_lms = np.array(
        [[1, 0.3963377774, 0.2158037573], [1, -0.1055613458, -0.0638541728], [1, -0.0894841775, -1.2914855480]]
    )
    to_rgb = np.array(
        [
            [4.0767416621, -3.3077115913, 0.2309699292],
            [-1.2684380046, 2.6097574011, -0.3413193965],
            [-0.0041960863, -0.7034186147, 1.7076147010],
        ]
    )
    return to_rgb @ (to_lms @ lab) ** 3


def _gamma(linear: np.ndarray) -> np.ndarray:
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * np.clip(linear, 0, 1) ** (1 / 2.4) - 0.055)
