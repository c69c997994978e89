"""Frames of any size through the network: exact, layer by layer, slab by slab, block by block.

    forward.py      a frame from grid to logits: budget, cut, threads, smaller blocks on a full GPU
    schedule.py     which slab goes through which layer when
    window.py       features of the slabs that are still needed
    sweep.py        forward pass of a frame; a consumer gets what the head reads of each block
    gradient.py     the same with the backward pass: logP and its gradient, the score
    evaluator.py    network and head of a model file on a device
    warm_up.py      compiles the kernels before the work starts, and says so

Memory and threads: `runtime`. A training step: `lab.training.step`. The readable float64 form that the engine is
measured against: `model.reference`. Arrays are in the sorted order of the grid throughout.
"""
