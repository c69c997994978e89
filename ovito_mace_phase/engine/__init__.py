"""Frames of any size through the network: exact, layer by layer, slab by slab, block by block.

schedule.py   which slab goes through which layer when
window.py     features of the slabs that are still needed
sweep.py      forward pass of a frame; a consumer gets the logits of each block
score.py      the same with the backward pass: logP and its gradient
memory.py     how much memory there is, and what follows for slabs and blocks
"""
