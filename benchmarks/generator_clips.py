"""Codes alone on real clips: how well a generator shows people that exist."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.main_job import run
from pipeline.faces.identity import FaceEmbedder
from pipeline.report.manifest import JobResult
from pipeline.scoring.identity_metrics import crop_identity

WORDS = ("--inverter", "w+", "--finetune-steps", "0", "--max-frames", "8")


def clips(
    generator: str, videos: Sequence[Path], embedder: FaceEmbedder | None, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Fit the codes of clips' first frames through `process-video`.

    Returns:
        A row for each clip: psnr, mean over frames of the reconstructed crop's PSNR in dB; identity, mean
        cosine of the face network between reconstruction and crop, None without a network.
    """
    rows = []
    for video in videos:
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "out"
            words = [*WORDS, *(() if generator == "bundled" else ("--generator", str(generator)))]
            done = run(video, out, Path(folder) / "cache", words)
            identity = None if embedder is None else crop_identity(JobResult(out), embedder)
        psnr = done["reconstruction"]["psnr"]
        rows.append(
            {
                "clip": video.name,
                "psnr": None if psnr is None else round(float(psnr), 2),
                "identity": None if identity is None else round(identity, 3),
                "seconds": done["seconds"],
            }
        )
        say(f"real: {rows[-1]}")
    return rows
