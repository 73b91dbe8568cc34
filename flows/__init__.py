"""Prefect flows over the stages of `pipeline`, and the service that runs them.

Nothing here computes.
"""

import pipeline  # noqa: F401 - sets how OpenMP's threads wait, before any import of torch
