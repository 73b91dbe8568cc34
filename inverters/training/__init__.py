"""How generators and judges are made: batches of procedural heads, losses, trainers.

Run once, by `invid train-generator` and `invid train-judge`. Nothing that runs every day imports this.
"""
