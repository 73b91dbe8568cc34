"""Training of the bundled generator and of the judge on procedural heads: batches, losses, trainers.

Run once, by `invid train-generator` and `invid train-judge`.
Nothing that inverts, edits or renders a clip may import this.
"""
