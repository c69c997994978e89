"""Frames of any size through the network: exact, layer by layer, slab by slab, block by block.

    run.py          a frame from graph to logits: budget, cut, threads, smaller blocks on a full GPU
    schedule.py     which slab goes through which layer when
    window.py       features of the slabs that are still needed
    sweep.py        forward pass of a frame; a consumer gets what the head reads of each block
    score.py        the same with the backward pass: logP and its gradient
    training.py     one training step of the whole model, by three evaluations
    evaluator.py    network and head of a model file on a device
    memory.py       how much memory there is, and what follows for slabs and blocks
    warm_up.py      kernels are compiled before the work starts, and that is said
    features.py, listed.py   features of chosen atoms of many small frames, to train a head on
    reference.py    plain torch, float64: what all of this is measured against

Arrays are in the sorted order of the grid throughout.
"""
