"""Many frames: with worker processes or a cluster, each result kept on disk, so that an interrupted run can resume.

frames to do -> `pools` or `cluster` -> one finished frame each, a file of the `work` folder -> tables, plots, report

Nothing here imports OVITO; what is done with a frame is handed in (`ovito_frames.classify_frame`).
"""
