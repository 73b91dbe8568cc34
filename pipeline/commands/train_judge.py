"""`invid train-judge`: train the network that measures edits of the bundled generator."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pipeline.request.fields import MOST_SEED, Option


def run(
    *,
    set: Annotated[Path, Option(metavar="DIR")] = Path("runs/people"),
    minutes: Annotated[float, Option(least=0, most=10**6)] = 60.0,
    device: Annotated[str, Option(metavar="auto|cpu|cuda")] = "auto",
    seed: Annotated[int, Option(least=0, most=MOST_SEED)] = 77,
    nice: Annotated[int, Option(least=0, most=19)] = 19,
    start: Annotated[Path | None, Option(metavar="FILE")] = None,
    out: Annotated[Path | None, Option(metavar="FILE", default="the bundled judge")] = None,
) -> int:
    """Train the network that measures edits of the bundled generator, on the stored people.

    Args:
        set: Folder of the stored people, see train-generator.
        minutes: Wall time of the training.
        device: As in process-video.
        seed: Seed of the training.
        nice: Added to the process's niceness: training yields to other work.
        start: Weights to begin from.
        out: The weights to write; their card goes beside them.
    """
    import json
    import os

    from inverters.training.train_judge import make_judge

    os.nice(nice)
    correlation = make_judge(set, minutes, seed, device, start, out)
    print(json.dumps({name: round(value, 3) for name, value in correlation.items()}))
    return 0
