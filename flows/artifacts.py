"""What Prefect's pages show of a job: progress of long stages, pictures, figures, where the report is."""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import numpy as np
from PIL import Image
from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)

from pipeline.job.progress import Progress, clock
from pipeline.job.walker import Job

EVERY = 5.0
"""Seconds between two reports on a stage; one that is shorter has none."""
SHOWN = ("stitch/edited", "edit/edited", "edit/removal", "edit/view", "smooth", "finetune")
"""Stages whose pictures are shown beside the source; the first that ran."""
SIDE = 192
"""Pixels of a thumbnail, which lies in Prefect's database."""


class LoggedProgress(Progress):
    """Progress as lines of the run's log, and as an artifact for each stage that takes long."""

    def __init__(self, log: Any) -> None:
        self._log = log
        self._stage, self._began, self._told = "", 0.0, 0.0
        self._artifact: UUID | None = None

    def start(self, stage: str) -> None:
        """A stage begins."""
        self._stage, self._began = stage, time.monotonic()
        self._told, self._artifact = self._began, None

    def update(
        self, done: int, total: int | None = None, losses: Mapping[str, float] | None = None, unit: str = ""
    ) -> None:
        """So much of it is done."""
        now = time.monotonic()
        if not total or now - self._told < EVERY:
            return
        self._told = now
        left = clock((now - self._began) / max(done, 1) * (total - done))
        found = "".join(f", {name} {value:.4g}" for name, value in (losses or {}).items())
        text = f"{self._stage}: {done} of {total} {unit}{found}; about {left} left"
        if self._artifact is None:
            self._artifact = create_progress_artifact(100.0 * done / total, description=text)  # type: ignore[assignment]
        else:
            update_progress_artifact(self._artifact, 100.0 * done / total, description=text)

    def finish(self, stage: str, seconds: float, cached: bool) -> None:
        """One line a stage."""
        if self._artifact is not None:
            update_progress_artifact(self._artifact, 100.0, description=f"{stage}: {clock(seconds)}")
        self._log.info("%s: %s", stage, "from the cache" if cached else f"{seconds:.1f} s")

    def note(self, text: str) -> None:
        """What the user should know."""
        self._log.warning(text)


def show_results(job: Job) -> None:
    """Before and after, the table of figures, the path of the report."""
    manifest = job.manifest
    results = job.journal.results
    shown = [name for name in SHOWN if name in results]
    crops = results["align"].arrays["crops"]
    if len(crops):
        row = len(crops) // 2
        array = "images" if "images" in results[shown[0]].arrays else "reconstruction"
        after = np.asarray(results[shown[0]].arrays[array][row])
        picture = data_uri(np.concatenate([np.asarray(crops[row]), after], 1))
        create_markdown_artifact(
            f"![before and after]({picture})", description=f"{job.path.name}: {shown[0]}"
        )
    figures = [
        {"figure": name, "mean": "" if value is None else round(value, 4)}
        for name, value in manifest["metrics"]["reconstruction"].items()
    ]
    figures += [{"figure": f"{s['name']} (s)", "mean": round(s["seconds"], 2)} for s in manifest["stages"]]
    create_table_artifact(figures, description=job.path.name)
    report = (job.out / manifest["outputs"]["report"]).resolve()
    create_markdown_artifact(f"`{report}`", description=f"{job.path.name}: the report")


def data_uri(picture: Any) -> str:
    """A small picture, uint8 [H,W,3], as a data URI; about 20 kB."""
    image = Image.fromarray(picture)
    image.thumbnail((2 * SIDE, SIDE))
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()
