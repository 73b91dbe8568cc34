"""Networks that predict a code or planes from a picture, one a file.

Official checkpoints are read by the same classes.
No optimisation and no training.
"""
