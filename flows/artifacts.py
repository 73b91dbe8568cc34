"""What Prefect's pages show of a job: progress, the delivered picture, quality, time, and its report.

Each kind has one key, so that the page "Artifacts" has one history of it over all runs.
"""

from __future__ import annotations

import base64
import contextlib
import io
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import UUID

import numpy as np
from httpx import HTTPError
from PIL import Image
from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactUpdate
from prefect.runtime import flow_run

from flows.server import RESULTS_URL
from pipeline.clip import U8
from pipeline.job.forecast import StageForecast
from pipeline.job.progress import Progress, clock
from pipeline.job.walker import Job
from pipeline.report.page import delivered_look
from pipeline.report.pictures import shrunk

PROGRESS, PICTURE, QUALITY, TIME, REPORT = "progress", "before-and-after", "quality", "time", "report"
"""Keys of the artifacts of a run."""
EVERY = 5.0
"""Seconds between two updates of the bar."""
LOG_EVERY = 60.0
"""Seconds between two lines of the log on one stage."""
SIDE = 480
"""Pixels of the longest side of each of two pictures, which lie in Prefect's database."""
_GAP = 8


class Bar:
    """A progress artifact that is created when it is first set. A server that is away stops nothing."""

    def __init__(self) -> None:
        self._artifact: UUID | None = None

    def set(self, share: float, text: str) -> None:
        """Show this share, 0 to 1, and a line of text."""
        percent = 100.0 * min(max(share, 0.0), 1.0)
        with contextlib.suppress(HTTPError, RuntimeError):
            if self._artifact is None:
                self._artifact = _identity(create_progress_artifact(percent, PROGRESS, text))
            else:
                update_progress_artifact(self._artifact, percent, description=text)


class Table:
    """A table in Markdown, whose cells can be links, as one artifact that is replaced when it changes."""

    def __init__(self, key: str) -> None:
        self._key = key
        self._artifact: UUID | None = None

    def set(self, rows: Sequence[Mapping[str, str]], description: str) -> None:
        """Show these rows, which all have the same columns, as Markdown, and a line of text."""
        if not rows:
            return
        lines = [list(rows[0]), ["---"] * len(rows[0]), *(list(row.values()) for row in rows)]
        text = "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
        with contextlib.suppress(HTTPError, RuntimeError):
            if self._artifact is None:
                self._artifact = _identity(create_markdown_artifact(text, self._key, description))
                return
            with get_client(sync_client=True) as client:
                client.update_artifact(self._artifact, ArtifactUpdate(data=text, description=description))


def _identity(found: Any) -> UUID:
    return UUID(str(found))


class LoggedProgress(Progress):
    """Progress of a job as lines of the run's log, and as one bar over all of its stages.

    The bar's parts are as long as earlier jobs on this machine took; a stage without an estimate counts as
    long as the mean of the others.
    """

    def __init__(self, log: Any, clip: str) -> None:
        self._log, self._clip, self._bar = log, clip, Bar()
        self._seconds: dict[str, float] = {}
        self._before = 0.0  # seconds of the stages that are finished
        self._stage, self._began, self._told, self._logged = "", 0.0, 0.0, 0.0

    def expect(self, kinds: Sequence[str], stages: Iterable[StageForecast]) -> None:
        """The kinds of stages in order, and what each is expected to take."""
        known: dict[str, float] = {}
        for stage in stages:
            if stage.seconds is not None:
                kind = stage.name.partition("/")[0]
                known[kind] = known.get(kind, 0.0) + stage.seconds
        usual = sum(known.values()) / len(known) if known else 1.0
        self._seconds = {kind: known.get(kind, usual) for kind in kinds}
        self._bar.set(0.0, f"{self._clip}: {len(kinds)} stages")

    def start(self, stage: str) -> None:
        """A stage begins."""
        self._stage, self._began = stage, time.monotonic()
        self._logged = self._began

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
        text = f"{self._place()}: {done} of {total} {unit}{found}; about {left} left"
        self._bar.set(self._share(done / total), f"{self._clip}: {text}")
        if now - self._logged >= LOG_EVERY:
            self._logged = now
            self._log.info("%s", text)

    def finish(self, stage: str, seconds: float, cached: bool) -> None:
        """One line a stage."""
        place = self._place()
        self._before += self._seconds.get(stage, 0.0)
        last = stage == next(reversed(self._seconds), "")
        if last or time.monotonic() - self._told >= EVERY:
            self._told = time.monotonic()
            self._bar.set(1.0 if last else self._share(0.0), f"{self._clip}: {place} is done")
        self._log.info("%s: %s", stage, "from the cache" if cached else f"{seconds:.1f} s")

    def note(self, text: str) -> None:
        """What the user should know."""
        self._log.warning(text)

    def _place(self) -> str:
        kinds = list(self._seconds)
        place = f", stage {kinds.index(self._stage) + 1} of {len(kinds)}" if self._stage in kinds else ""
        return f"{self._stage}{place}"

    def _share(self, part: float) -> float:
        """Of the expected seconds, those that are over; `part` is that of the stage at work."""
        whole = sum(self._seconds.values())
        return (self._before + part * self._seconds.get(self._stage, 0.0)) / whole if whole else part


def show_picture(job: Job) -> None:
    """A frame of the source beside the same frame of the delivered result.

    It is the frame that the report shows first: where the two differ most inside the face.
    """
    found = delivered_look(job.manifest, job.out, job.value("decode"), job.value("align"))
    if found is None or (before := found[1].before) is None:
        return
    caption, look = found
    frame = f"frame {look.sample.index}, {look.sample.time:.2f} s"
    picture = data_uri(side_by_side(before.pixels, look.after.pixels))
    told = f"{job.path.name}: source, and {caption.lower()} ({frame})"
    # Not an image artifact: the page would write out its whole address.
    _kept(lambda: create_markdown_artifact(f"![source and result]({picture})", PICTURE, told))


def show_figures(clip: str, out: Path, manifest: Mapping[str, Any]) -> None:
    """Quality, time by stage, and the report, which opens where `flows.results` serves it."""
    frames = manifest["frames"]
    quality = [
        {"figure": name, "value": "" if value is None else round(value, 4)}
        for name, value in manifest["metrics"]["reconstruction"].items()
    ]
    quality += [{"figure": f"frames {name.replace('_', ' ')}", "value": n} for name, n in frames.items()]
    told = ", ".join(f"{row['figure']} {row['value']}" for row in quality[:2] if row["value"] != "")
    edited = f"{frames['edited']} of {frames['total']} frames with a face"
    _kept(lambda: create_table_artifact(quality, QUALITY, f"{clip}: {told}; {edited}"))
    times = [
        {"stage": s["name"], "seconds": round(s["seconds"], 2), "from the cache": s["cached"]}
        for s in manifest["stages"]
    ]
    total = clock(sum(s["seconds"] for s in manifest["stages"]))
    _kept(lambda: create_table_artifact(times, TIME, f"{clip}: {total}"))
    text = report_text(out.resolve(), manifest["outputs"], os.environ.get(RESULTS_URL), flow_run.id)
    _kept(lambda: create_markdown_artifact(text, REPORT, f"{clip}: report and files"))


def report_text(out: Path, outputs: Mapping[str, str], url: str | None, run: str | None) -> str:
    """Markdown that links to the report and every output; their paths where nothing serves them."""
    if not url or not run:
        return "\n".join(f"- {name}: `{out / path}`" for name, path in sorted(outputs.items()))
    links = {name: f"{url.rstrip('/')}/runs/{run}/{quote(path)}" for name, path in outputs.items()}
    lines = [f"[Open the report]({links['report']})", f"Folder: `{out}`"]
    lines += [f"- [{outputs[name]}]({link})" for name, link in sorted(links.items()) if name != "report"]
    return "\n\n".join(lines[:2]) + "\n\n" + "\n".join(lines[2:])


def _kept(create: Callable[[], object]) -> None:
    """Create an artifact; the results are in their place, so a server that is away fails no run."""
    with contextlib.suppress(HTTPError, RuntimeError):
        create()


def side_by_side(before: U8, after: U8) -> U8:
    """Two pictures, uint8 [H,W,3], of one size beside each other, each at most SIDE pixels a side."""
    left, right = shrunk(before, SIDE), shrunk(after, SIDE)
    height = max(left.shape[0], right.shape[0])
    whole = np.full((height, left.shape[1] + _GAP + right.shape[1], 3), 255, np.uint8)
    whole[: left.shape[0], : left.shape[1]] = left
    whole[: right.shape[0], left.shape[1] + _GAP :] = right
    return whole


def data_uri(picture: U8) -> str:
    """A picture, uint8 [H,W,3], as a data URI of a JPEG; about 60 kB at this size."""
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()
