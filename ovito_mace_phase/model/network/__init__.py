"""The MACE network without mace: weights, reference operation and kernels.

    weights.py      NetworkConfig; model files (safetensors + JSON card)
    from_mace.py    a mace-torch module -> tensors
    elements.py     atomic numbers -> rows of the element tables
    radial.py       distance -> Bessel functions -> MLP -> one weight per (l, channel)
    harmonics.py    direction -> real spherical harmonics up to l = 3
    contraction.py  messages -> invariant products of up to three of them
    reference.py    the network in plain torch: slow, readable, any precision; what every kernel is tested against
    tables.py       radial functions as splines
    layers.py       the layers on a block of atoms, differentiable, at speed, out of
    operations.py   operations with one signature: numba_operations.py (kernels.py, kernels_backward.py, angles.py) on
                    the CPU, torch_operations.py anywhere

Only `weights`, `from_mace` and `elements` can be imported without torch.
"""
