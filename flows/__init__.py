"""Prefect flows over the functions that the command line calls: stages as tasks, folders, a server.

Nothing is computed here, and nothing else in Invid imports Prefect.
A flow file is short; what it needs of the pipeline belongs in `pipeline`.
"""

import pipeline  # noqa: F401 - sets how OpenMP's threads wait, before any import of torch
