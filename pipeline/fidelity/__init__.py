"""`invid bench fidelity`: every inversion method on the same clips, judged against the truth about them."""
