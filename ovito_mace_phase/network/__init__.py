"""The MACE network without mace: weights, reference operation and kernels.

    weights.py      NetworkConfig; model files (safetensors + JSON card)
    from_mace.py    a mace-torch module -> tensors
    elements.py     atomic numbers -> rows of the element tables
    radial.py       distance -> Bessel functions -> MLP -> one weight per (l, channel)
    harmonics.py    direction -> real spherical harmonics up to l = 3
    contraction.py  messages -> invariant products of up to three of them
    reference.py    the network in plain torch: slow, readable, any precision; what every kernel is tested against
    tables.py, kernels.py, fused.py   the same on the CPU at speed: splines of the radial functions, fused numba loops

Only `weights`, `from_mace` and `elements` can be imported without torch.
"""
