"""Benchmarks: each prints JSON with hardware and date, and writes it with `--out` (`benchmarks/results`).

`figures.py` makes the figures of README and docs from these results. Nothing in Invid imports a benchmark.
"""
