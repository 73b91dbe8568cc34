"""The way of one clip from file to edited file: request, stages, job, commands.

Nothing here knows how a method inverts or a generator draws, or Prefect.
"""

import inverters  # noqa: F401 - sets how OpenMP's threads wait, before any import of torch
