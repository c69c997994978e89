"""Frames of any size through the network: exact, layer by layer, slab by slab, block by block.

    evaluator   network and head of a model file on a device
    schedule    which slab goes through which layer when
    window      features of the slabs that are still needed
    sweep       forward pass of a frame; a consumer gets what the head reads of each block
    forward     a frame to logits: budget, cut, threads, smaller blocks on a full GPU
    gradient    the same with the backward pass: logP and its gradient
    warm_up     kernels are compiled before the work starts, and that is said

Arrays are in the sorted order of the grid throughout. What all of it is measured against: `model/reference`.
"""
