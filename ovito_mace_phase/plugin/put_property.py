"""Properties written into OVITO's data, also where the input has one of that name and of another type."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from ovito.data import Particles, Property


def put_property(
    container: Particles,
    name: str,
    data: npt.NDArray[Any],
    *,
    components: Sequence[str] | None = None,
    dtype: npt.DTypeLike | None = None,
) -> Property:
    """Write a property, in place of one of that name.

    A labelled file that is read again has the columns of its earlier labels, as double precision; OVITO refuses to
    write other types into them.

    Parameters
    ----------
    container : Particles
        Those that may be written to: `data.particles_`.
    name : str
    data : (n_elements,) or (n_elements, n_components) array
    components, dtype
        As in `PropertyContainer.create_property`.
    """
    there = cast("Property | None", container.get(name))
    if there is not None:
        same = np.asarray(there).shape == data.shape and there.dtype == (data.dtype if dtype is None else dtype)
        if not same or (components is not None and list(there.component_names) != list(components)):
            del container[name]
    return container.create_property(name, data=data, components=components, dtype=dtype)
