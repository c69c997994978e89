"""A frame on a CUDA device: neighbours, network and readout, with nothing of the frame on the host in between."""
