"""`invid watch`: find complete clips below a folder and start one job for each, once.

Jobs are child processes or Prefect runs; nothing here computes on frames.
"""
