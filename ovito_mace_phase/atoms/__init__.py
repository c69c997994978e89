"""Atoms before the network: frames, species, lengths, neighbours."""
