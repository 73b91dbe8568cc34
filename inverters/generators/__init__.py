"""EG3D's generator from our own hands: architecture, checkpoints, the bundled weights and how they are
trained.
"""
