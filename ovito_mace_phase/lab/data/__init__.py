"""Source data of training: labelled structures, ices, files of arrays."""
