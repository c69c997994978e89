"""The only files that import mace: the converter and the oracle."""
