"""A model: its file, the network, the engine that evaluates it, and the readable reference."""
