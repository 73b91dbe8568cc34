"""The stages of a job, one file each: what a stage reads and needs, its key, what it makes, how it is loaded.

`stage.py` says what a stage is, `run.py` what its functions are given, `plan.py` makes the plan of a request.
No stage knows the job that runs it; caching, progress and retries belong in `pipeline/job`.
"""
