"""Training samples: crystals with noise, stacking faults, disorder, hot snapshots."""
