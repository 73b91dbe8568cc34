"""Training of the bundled generator and of the judge on stored people: the set, batches, losses, trainers.

Run by `invid train-generator` and `invid train-judge`.
Nothing that inverts, edits or renders a clip may import this.
"""
