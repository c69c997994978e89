"""Make models: from labelled structures and a converted network to a calibrated model file; not needed to use one.

`pipeline` goes through the stages: `first_stage` (a head on the frozen network), `end_to_end` (`batches`, `step`),
`class_head` (classes once more, `emphasis` on hard phases), then what `lab.calibration` measures. Data come from
`lab.data`, samples from `lab.samples`, features from `lab.features`.
"""
