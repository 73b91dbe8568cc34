"""The procedural heads of the bundled generator's world: anatomy, paint, occluders, animation, renders.

The truth that the bundled generator was trained on and that tests and samples compare with.
No learned weights.
"""
