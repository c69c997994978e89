"""Many frames: over worker processes or a cluster, each result kept on disk, so that a run that was cut off goes on.

api          `classify_trajectory`; one file from settings to results
task         what a worker has to know;   remote: the call that it makes;   frame_worker: one frame through OVITO
scheduler    which frame next, lost workers;   pools, dask_pool: where
store        one finished frame each, a file of the work folder;   checksum: of the input
origin       what results were made from
record, result, summary    what is kept of frames
outputs      the files of the command line: plots, picture, flat_picture, movie, report, live
"""
