"""`invid train-face-embedding`: train the network that tells the faces of a clip apart."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pipeline.request.fields import MOST_SEED, Option


def run(
    *,
    set: Annotated[Path, Option(metavar="DIR")] = Path("runs/people"),
    minutes: Annotated[float, Option(least=0, most=10**6)] = 15.0,
    device: Annotated[str, Option(metavar="auto|cpu|cuda")] = "auto",
    seed: Annotated[int, Option(least=0, most=MOST_SEED)] = 78,
    nice: Annotated[int, Option(least=0, most=19)] = 19,
    out: Annotated[Path | None, Option(metavar="FILE", default="the bundled network")] = None,
) -> int:
    """Train the network that tells the faces of a clip apart, on the stored people.

    Args:
        set: Folder of the stored people, see train-generator.
        minutes: Wall time of the training.
        device: As in process-video.
        seed: Seed of the training.
        nice: Added to the process's niceness: training yields to other work.
        out: The weights to write; their card goes beside them.
    """
    import json
    import os

    from inverters.training.train_face_embedding import make_face_embedding

    os.nice(nice)
    print(json.dumps(make_face_embedding(set, minutes, seed, device, out)))
    return 0
