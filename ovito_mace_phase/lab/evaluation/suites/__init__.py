"""One file per suite of `evaluate`."""
