"""Optimisation that methods share: the loop, checkpoints, optimisers, targets, losses, stages.

A stage is an optimisation that `loop.Run` runs: codes, second field, weights, super-resolution.
No method and no preset of one.
"""
