"""One clip's way from a file to edited files: request, stages, the job that runs them, commands.

Rooms import one way: commands -> job -> stages -> {video, faces, request}. Knows nothing of Prefect, which is
in `flows`; what knows the generator is in `inverters`.
"""

import inverters  # noqa: F401 - sets how OpenMP's threads wait, before any import of torch
