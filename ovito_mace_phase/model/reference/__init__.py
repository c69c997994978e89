"""The network written out readably, and stock mace-torch: what the engine is measured against."""
