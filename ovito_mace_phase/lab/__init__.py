"""Tools that make and measure models. Not needed to use one, except by `add-phase`."""
