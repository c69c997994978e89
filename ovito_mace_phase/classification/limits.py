"""Bounds of parameters that the panel and the layers below share; imports nothing, so that the panel opens fast."""

MOST_STEPS = 1000
"""Of denoising."""
