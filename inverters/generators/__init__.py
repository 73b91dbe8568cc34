"""Generators: EG3D and its layers, cards, safe readers of checkpoints, the bundled weights.

Only what every run needs.
How the bundled weights were made is in `training`, which nothing here imports.
"""
