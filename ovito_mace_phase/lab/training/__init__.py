"""Make models: from labelled structures and a converted network to a calibrated model file; not needed to use one.

`structures`, `ices` and `npz` read data; `source` draws samples (`sampler`, `noise`, `stackings`, `background`,
`snapshots`, `crystals`); `whole` goes through the stages of training (`refit`, `end_to_end`) and calibrates
(`temperature`, `density_floors`, `distance_fit`, `score_errors`, `scores`). `add_phase` extends a model by one phase.
"""
