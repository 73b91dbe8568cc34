"""Scripts that measure: each prints JSON with hardware and date, and writes it to `benchmarks/results`.

`figures.py` makes the tables of README and docs from these results. Nothing of Invid imports a benchmark.
"""
