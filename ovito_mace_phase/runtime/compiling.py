"""Compiling kernels: cached on disk where that is possible, and working anyway.

numba keeps machine code in `__pycache__` beside the source or, if that cannot be written, in the user's cache folder;
where neither can be written (a read-only install without a home) kernels are compiled anew in every process.
"""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba

COMPILED: dict[str, Any] = {"fastmath": True, "nogil": True, "error_model": "numpy"}
"""Options of all kernels: no GIL, so that threads run blocks side by side; serial inside, so that they need no pool."""


def kernel(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Decorate a function like `numba.njit(cache=True, **options)`; without a cache where none can be written."""

    def decorate(function: Callable[..., Any]) -> Any:
        try:
            return numba.njit(cache=True, **options)(function)
        except RuntimeError:  # "cannot cache function: no locator available"
            return numba.njit(**options)(function)

    return decorate
