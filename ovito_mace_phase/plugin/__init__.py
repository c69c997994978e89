"""All that runs in OVITO's process: the modifier, what it reads, keeps and writes."""
