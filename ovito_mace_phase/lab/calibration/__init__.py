"""Numbers of the model card: temperature, density floors, distances, step errors, accuracy."""
