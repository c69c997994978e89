"""Kinds of frames that users bring beside perfect crystals, each with the right label of every atom.

    registry.py   name -> (stock, rng) -> Made;      stock.py   crystals of one part of the split;      made.py   Made

One file to a kind or a family of kinds. Frames are made without noise, lengths in A; `registry.sample_of` adds noise
and turns them into training samples. The three parts of the split differ in kind and not in the draw alone: what is
built (lattice, composition, shape, topology) is a plan, and a hash of the plan says which part it belongs to
(`stock.Stock.plan`).
"""
