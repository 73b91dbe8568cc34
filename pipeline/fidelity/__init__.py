"""`invid bench fidelity`: every inversion method on the same clips, scored against their truth.

Starts jobs as child processes and scores them with `pipeline.scoring`; measures nothing by itself.
"""
