"""`invid train-landmark-judge`: fit the map from landmarks that measures expressions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pipeline.request.fields import MOST_SEED, Option


def run(
    *,
    pictures: Annotated[Path, Option(metavar="DIR")] = Path("runs/judge/pictures"),
    count: Annotated[int, Option(least=100, most=10**6)] = 2600,
    seed: Annotated[int, Option(least=0, most=MOST_SEED)] = 77,
    out: Annotated[Path | None, Option(metavar="FILE", default="the bundled judge")] = None,
) -> int:
    """Fit the map from the face mesh's landmarks to head parameters, on pictures of procedural heads.

    Args:
        pictures: Folder of the pictures, made where missing.
        count: Pictures to make.
        seed: Seed of the pictures.
        out: The judge to write.
    """
    import json

    from pipeline.scoring.judge import fit_landmark_judge

    judge, faces = fit_landmark_judge(pictures, count, seed, out)
    print(f"{faces} faces in {count} pictures")
    print(json.dumps(judge.correlation))
    return 0
