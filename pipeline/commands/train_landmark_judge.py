"""`invid train-landmark-judge`: fit the map from landmarks that measures expressions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pipeline.request.fields import Option


def run(
    *,
    set: Annotated[Path, Option(metavar="DIR")] = Path("runs/people"),
    count: Annotated[int, Option(least=100, most=10**6)] = 2600,
    out: Annotated[Path | None, Option(metavar="FILE", default="the bundled judge")] = None,
) -> int:
    """Fit the map from the face mesh's landmarks to parameters, on the stored people.

    Args:
        set: Folder of the stored people, see train-generator.
        count: Most pictures to read, one of each person.
        out: The judge to write.
    """
    import json

    from pipeline.scoring.judge import fit_landmark_judge

    judge, faces, pictures = fit_landmark_judge(set, count, out)
    print(f"{faces} faces in {pictures} pictures")
    print(json.dumps(judge.correlation))
    return 0
