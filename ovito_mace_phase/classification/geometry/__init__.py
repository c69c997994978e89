"""Geometry of what the network proposes: templates fitted to the atoms, and labels held against them."""
