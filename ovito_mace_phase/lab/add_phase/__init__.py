"""A phase of the user's own, learned from one structure file."""
