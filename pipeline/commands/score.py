"""`invid score`: compare a result with the truth of a synthetic clip."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pipeline.request.fields import Option


def run(
    result: Path,
    /,
    *,
    truth: Annotated[Path, Option(metavar="SAMPLE")],
    identity: Annotated[Path | None, Option(metavar="FILE")] = None,
    lpips: Annotated[str, Option(metavar="alex|vgg|squeeze")] = "alex",
    json: bool = False,
) -> int:
    """Compare a result with the truth of a synthetic clip (docs/formats.md has every figure).

    Args:
        result: The --out folder of a finished job.
        truth: The clip that `invid sample` wrote.
        identity: Also compare identities, by these MobileFaceNet or ArcFace weights.
        lpips: The network of LPIPS.
        json: Print JSON.
    """
    from pipeline.scoring.score import score

    found = score(result, truth, identity, lpips)
    if json:
        from json import dumps

        print(dumps(found, indent=1, allow_nan=False))
        return 0
    width = max(map(len, found)) + 2
    for name, value in found.items():
        print(f"{name:<{width}}{'-' if value is None else format(value, '.3f')}")
    return 0
