"""`invid sample`: clips of procedural heads behind occluders, with their truth, written and read back.

The heads themselves are in `inverters.heads`. Nothing here looks at the result of a job.
"""
