"""Run one method on one clip in a child process; score it and draw its pictures."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from inverters.generators.small_files import read_json
from pipeline.errors import InvidError
from pipeline.fidelity.clips import BenchClip
from pipeline.fidelity.methods import BenchMethod
from pipeline.fidelity.pictures import truth_strip, write_strip
from pipeline.job.finished import request_digest
from pipeline.job.progress import Progress
from pipeline.job.walker import Job
from pipeline.report.manifest import JobResult
from pipeline.request.checks import definite
from pipeline.request.options import parse
from pipeline.request.settings import Settings
from pipeline.scoring.score import score
from storage import canonical_json, file_hash
from storage.files import replacing

SHARED_STAGES = ("decode", "track", "align", "camera")
"""Stages that do not depend on the method; computed once per clip, and not timed."""
TIMED_STAGES = ("invert", "finetune", "edit")
_MEASURED = (sys.executable, "-m", "pipeline.fidelity.peak_memory")
_live: set[int] = set()
"""Ids of running child processes."""


class FailedRunError(InvidError):
    """A method failed on a clip; the message ends with the last line of its output."""


@dataclass(frozen=True)
class Conditions:
    """Options, scoring networks and threads of a job (None: not set) common to all methods."""

    words: tuple[str, ...]
    identity: Path | None = None
    lpips_net: str = "alex"
    threads: int | None = None


@dataclass(frozen=True)
class Run:
    """One method on one clip, in the folder of the benchmark."""

    clip: BenchClip
    method: BenchMethod
    conditions: Conditions
    folder: Path

    @property
    def words(self) -> list[str]:
        """Options of the job, as words of the command line."""
        return [*self.conditions.words, *self.method.words, *self.clip.words]

    @property
    def settings(self) -> Settings:
        """The job's settings. Raises UserError."""
        return parse([str(self.clip.video), *self.words]).settings

    @property
    def key(self) -> str:
        """SHA-256 of everything that the row depends on."""
        how = self.conditions
        identity = None if how.identity is None else file_hash(how.identity)
        rules: list[Any] = [
            request_digest(self.clip.video, self.settings),
            identity,
            how.lpips_net,
            how.threads,
        ]
        rules += [numbers_of(definite(self.settings, self.clip.video))]
        return hashlib.sha256(canonical_json(rules).encode()).hexdigest()

    def _file(self, kind: str, suffix: str) -> Path:
        """Path of this run's file of a kind."""
        return self.folder / kind / self.clip.name / f"{self.method.file_name}{suffix}"

    @property
    def strip(self) -> Path:
        """Path of the picture of this run's results."""
        return self._file("strips", ".png")

    def earlier(self) -> dict[str, Any] | None:
        """The row of an earlier run with the same key, or None."""
        try:
            found: dict[str, Any] = read_json(self._file("rows", ".json"))
        except (OSError, ValueError):
            return None
        return found["row"] if found.get("key") == self.key and self.strip.is_file() else None

    def measure(self) -> dict[str, Any]:
        """Run, score and draw the job on a prepared clip and store the row. Raises FailedRunError."""
        key = self.key
        place = self.folder / "jobs" / f"{self.clip.name}-{self.method.file_name}"
        shutil.rmtree(place, ignore_errors=True)
        try:
            shutil.copytree(_prepared(self.clip, self.folder), place / "cache")
            memory = self._run_job(place)
            result = JobResult(place / "out")
            row = self._row(result, memory)
            write_strip(result, self.strip)
        finally:
            shutil.rmtree(place, ignore_errors=True)
        file = self._file("rows", ".json")
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file) as side:
            side.write_text(json.dumps({"key": key, "row": row}, indent=1, allow_nan=False) + "\n")
        return row

    def _row(self, result: JobResult, memory: float) -> dict[str, Any]:
        """The row of a finished job that held `memory` MiB."""
        conditions = self.conditions
        stages = {s["name"]: float(s["seconds"]) for s in result.manifest["stages"]}
        found: dict[str, Any] = {
            "clip": self.clip.name,
            "occluder": self.clip.truth.occluder,
            "frames": result.manifest["frames"]["total"],
            "method": self.method.name,
            "preset": self.settings.invert.recipe,
            "generator": result.manifest["generator"]["fingerprint"],
        }
        scores = score(result.out, self.clip.truth.folder, conditions.identity, conditions.lpips_net)
        found |= {name: None if value is None else round(value, 5) for name, value in scores.items()}
        found["seconds"] = round(sum(stages.get(name, 0.0) for name in TIMED_STAGES), 2)
        found["memory_mb"] = round(memory)
        return found

    def _run_job(self, place: Path) -> float:
        """Run the job in a child process; returns its peak memory in MiB. Raises FailedRunError."""
        words = [str(self.clip.video), *self.words, "--quiet"]
        words += ["--out", str(place / "out"), "--cache", str(place / "cache")]
        environment = dict(os.environ)
        if self.conditions.threads is not None:
            environment["OMP_NUM_THREADS"] = str(self.conditions.threads)
        with tempfile.TemporaryFile() as told:
            command = [*_MEASURED, str(place / "memory"), "pipeline.commands", "process", *words]
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=told, env=environment)
            _live.add(process.pid)
            try:
                process.wait()
            finally:
                _live.discard(process.pid)
            if process.returncode:
                raise FailedRunError(f"{self.method.name} on {self.clip.name}: {_last_line(told, process)}")
        return float((place / "memory").read_text())


def _last_line(told: IO[bytes], process: subprocess.Popen[bytes]) -> str:
    """The last line that a failed process has printed."""
    told.seek(0)
    lines = told.read().decode(errors="replace").strip().splitlines()
    return lines[-1].removeprefix("invid: ") if lines else f"it ended with code {process.returncode}"


def numbers_of(settings: Settings) -> dict[str, Any]:
    """Numbers of the preset that the method reads."""
    return asdict(settings.invert.of_method())


def stop_all() -> None:
    """Send SIGTERM to all running jobs."""
    for pid in tuple(_live):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)


def _prepared(clip: BenchClip, folder: Path) -> Path:
    return folder / "prepared" / clip.name


def prepare(clip: BenchClip, folder: Path, settings: Settings) -> None:
    """Compute SHARED_STAGES of a clip into a cache that all methods copy, and draw the strip of its truth.

    Raises UserError for a clip that no method can process.
    """
    with tempfile.TemporaryDirectory() as nowhere:
        job = Job(clip.video, Path(nowhere) / "out", _prepared(clip, folder), settings, Progress())
        for stage in SHARED_STAGES:
            job.step(stage)
        frames = job.value("track").usable
        truth_strip(clip, job.value("align"), frames, folder / "strips" / clip.name / "truth.png")
