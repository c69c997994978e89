"""Frames that the suites are made of."""
