"""The geometry of what the network proposes: templates are fitted to the atoms, and the labels are held against them."""
