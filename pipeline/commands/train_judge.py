"""`invid train-judge`: train the network that measures edits of the bundled generator."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pipeline.request.fields import Option


def run(
    *,
    set: Annotated[Path, Option(metavar="DIR")] = Path("runs/judge/set"),
    count: int = 7000,
    steps: int = 6000,
    seed: int = 77,
    start: Annotated[Path | None, Option(metavar="FILE")] = None,
    out: Annotated[Path | None, Option(metavar="FILE", default="the bundled judge")] = None,
) -> int:
    """Train the network that measures edits of the bundled generator, on renders of procedural heads.

    Args:
        set: Folder of the renders, made where missing.
        count: Renders to make.
        steps: Steps of the training.
        seed: Seed of renders and training.
        start: Weights to begin from.
        out: The weights to write; their card goes beside them.
    """
    import json

    from inverters.training.train_judge import make_judge

    correlation = make_judge(set, count, steps, seed, start, out)
    print(json.dumps({name: round(value, 3) for name, value in correlation.items()}))
    return 0
