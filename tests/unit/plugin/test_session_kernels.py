"""What is compiled before the first frame of a session is all that the frame needs around the network."""

import importlib
import itertools

from ovito_mace_phase.plugin.session import compile_kernels

_PLACES = ("kernels_growth", "kernels_agreement", "kernels_nearest", "kernels_search", "kernels")
_CALLED = {"keep_nearest", "spread_largest", "start", "hand_on", "take_over", "commit", "compare", "spread_level"}
_CALLED |= {"find_crowded", "spread_support"}


def test_kernels_of_the_fit_are_ready():
    compile_kernels()
    modules = (importlib.import_module(f"ovito_mace_phase.classification.geometry.{name}") for name in _PLACES)
    kernels = dict(itertools.chain.from_iterable(vars(module).items() for module in modules))
    assert {name for name in _CALLED if not kernels[name].signatures} == set()
