"""Many frames: over worker processes or a cluster, each result kept on disk, so that a run that was cut off goes on.

frames to do -> `pools` or `cluster` -> one finished frame each, a file of the `work` folder -> tables, plots, report

Nothing here imports OVITO; what is done with a frame is handed in (`ovito_frames.classify_frame`).
"""
