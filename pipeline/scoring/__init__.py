"""`invid score`: distances between a finished job and the truth of the sample it was made from.

Reads results and truth folders, writes nothing. One file a kind of measure; nothing here runs a job.
"""
