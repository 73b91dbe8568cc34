"""Procedural heads: anatomy, paint, occluders, animation, renders.

The training data of the bundled generator, and the ground truth of tests and samples.
No learned weights and no generator.
"""
