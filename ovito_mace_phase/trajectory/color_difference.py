"""How different two colours look: CIELAB coordinates of sRGB, and CIEDE2000, the distance between them.

    dE^2 = (dL / SL)^2 + (dC / SC)^2 + (dH / SH)^2 + RT (dC / SC) (dH / SH)

dL, dC, dH are the differences in lightness, chroma and hue; SL, SC, SH make up for what the eye sees less well where
colours are strong or light, RT for the blues. Some 2 are just seen side by side. White is D65.
G. Sharma, W. Wu, E. N. Dalal, Color Res. Appl. 30, 21 (2005), equations 1 to 22.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float64]
_TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
_WHITE = np.array([0.95047, 1.0, 1.08883])


def lab_of(rgb: npt.ArrayLike) -> Float:
    """Return the CIELAB coordinates (..., 3) of sRGB colours (..., 3) in 0 ... 1."""
    coded = np.asarray(rgb, dtype=np.float64)
    linear = np.where(coded <= 0.04045, coded / 12.92, ((np.maximum(coded, 0) + 0.055) / 1.055) ** 2.4)
    ratio = linear @ _TO_XYZ.T / _WHITE
    root = np.where(ratio > 216 / 24389, np.cbrt(ratio), (24389 / 27 * ratio + 16) / 116)
    x, y, z = np.moveaxis(root, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def difference(first: npt.ArrayLike, second: npt.ArrayLike) -> Float:
    """Return CIEDE2000 between CIELAB colours (..., 3) and (..., 3), of shapes that broadcast."""
    light1, a1, b1 = np.moveaxis(np.asarray(first, dtype=np.float64), -1, 0)
    light2, a2, b2 = np.moveaxis(np.asarray(second, dtype=np.float64), -1, 0)
    less = 1.5 - 0.5 * _saturation((np.hypot(a1, b1) + np.hypot(a2, b2)) / 2)
    a1, a2 = less * a1, less * a2
    chroma1, chroma2 = np.hypot(a1, b1), np.hypot(a2, b2)
    hue1, hue2 = np.degrees(np.arctan2(b1, a1)), np.degrees(np.arctan2(b2, a2))
    grey = chroma1 * chroma2 == 0  # has no hue
    turn = np.where(grey, 0.0, (hue2 - hue1 + 180) % 360 - 180)
    hue = np.where(grey, hue1 + hue2, hue1 + turn / 2) % 360
    light, chroma = (light1 + light2) / 2 - 50, (chroma1 + chroma2) / 2
    waves = 1 - 0.17 * _cos(hue - 30) + 0.24 * _cos(2 * hue) + 0.32 * _cos(3 * hue + 6) - 0.20 * _cos(4 * hue - 63)
    by_light = (light2 - light1) / (1 + 0.015 * light**2 / np.sqrt(20 + light**2))
    by_chroma = (chroma2 - chroma1) / (1 + 0.045 * chroma)
    by_hue = 2 * np.sqrt(chroma1 * chroma2) * np.sin(np.radians(turn / 2)) / (1 + 0.015 * chroma * waves)
    blue = -2 * np.sin(np.radians(60 * np.exp(-(((hue - 275) / 25) ** 2)))) * _saturation(chroma)
    return np.sqrt(np.maximum(by_light**2 + by_chroma**2 + by_hue**2 + blue * by_chroma * by_hue, 0.0))


def _saturation(chroma: Float) -> Float:
    return np.sqrt(chroma**7 / (chroma**7 + 25.0**7))


def _cos(degrees: Float) -> Float:
    return np.cos(np.radians(degrees))
