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

FIRST_FRAMES = ("--finetune-steps", "0", "--max-frames", "8")
WORDS = ("--inverter", "w+", *FIRST_FRAMES)


def clips(
    generator: str,
    videos: Sequence[Path],
    embedder: FaceEmbedder | None,
    say: Callable[[str], None],
    asked: Sequence[str] = WORDS,
) -> list[dict[str, Any]]:
    """Find the codes of clips' first frames through `process-video` with the words `asked`.

    Returns:
        A row for each clip: psnr, mean over frames of the reconstructed crop's PSNR in dB; identity, mean
        cosine of the face network between reconstruction and crop, None without a network; seconds of the
        whole command, and invert_s of its stages `start` and `invert`.
    """
    rows = []
    for video in videos:
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "out"
            words = [*asked, *(() if generator == "bundled" else ("--generator", str(generator)))]
            done = run(video, out, Path(folder) / "cache", words)
            identity = None if embedder is None else crop_identity(JobResult(out), embedder)
        psnr = done["reconstruction"]["psnr"]
        rows.append(
            {
                "clip": video.name,
                "psnr": None if psnr is None else round(float(psnr), 2),
                "identity": None if identity is None else round(identity, 3),
                "seconds": done["seconds"],
                "invert_s": round(sum(done["stages"].get(name, 0.0) for name in ("start", "invert")), 2),
            }
        )
        say(f"real: {rows[-1]}")
    return rows
