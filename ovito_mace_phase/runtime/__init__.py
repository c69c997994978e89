"""Threads, memory, compiled kernels, files and errors: what any part may use."""
