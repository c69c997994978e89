"""Suites that measure a model: hot crystals, melts, defects, paths between phases, alloys, ices, interfaces.

    registry.py  name -> suite;   a suite:  run(model, settings) -> Report;   report.py writes it as json, md and png

Frames that need no molecular dynamics are built here (`frames/`); the others are made by the scripts of
`sample_dumps/` and read by `lab.data.npz`. `labels` labels a frame by the model, `ovito_methods` by the classical
methods: the one file here that imports ovito.
"""
