"""`invid sample`: clips of made-up people behind occluders, with their truth, written and read back.

The people themselves are in `inverters.people`. Nothing here looks at the result of a job.
"""
