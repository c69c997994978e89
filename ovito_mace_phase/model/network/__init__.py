"""The MACE network without mace: its file, its layers on a block of atoms, its head.

    model_file      NetworkConfig; model files (safetensors + JSON card)
    elements        atomic numbers -> rows of the element tables
    harmonics       direction -> real spherical harmonics up to l = 3
    radial_tables   radial functions as splines
    layers          the layers on a block of atoms, differentiable, at speed, out of
    operations/     operations with one signature, kernels on the CPU and plain torch anywhere
    head            features -> logits and log-density

The same network written out readably, in any precision, is in `model/reference`. Only `model_file` and `elements` can
be imported without torch.
"""
