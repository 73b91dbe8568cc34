"""The second field, its blending with the generator's, pseudo views, and renders of an inversion.

Functions of tensors, cameras and a generator.
No optimisation: that is in `fitting`.
"""
