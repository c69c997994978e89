"""The operations of a layer behind one protocol: numba kernels on the CPU, plain torch anywhere."""
