"""The fidelity benchmark: every inversion method on the same clips, scored against their truth.

Clips, rows and pictures are kept in the --out folder; an interrupted benchmark continues from them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import UserError
from pipeline.fidelity.clips import BenchClip, MadeClip, given_clips, made_clips, make
from pipeline.fidelity.methods import BenchMethod
from pipeline.fidelity.pictures import contact_sheet
from pipeline.fidelity.running import Conditions, FailedRunError, Run, prepare, stop_all
from pipeline.fidelity.table import means
from pipeline.job.progress import clock
from pipeline.machine import machine
from pipeline.video.images import save_png

FORMAT = 1


@dataclass(frozen=True)
class Benchmark:
    """The clips and methods to run, and the folder that keeps the results."""

    made: Sequence[MadeClip]
    given: Sequence[BenchClip]
    methods: Sequence[BenchMethod]
    conditions: Conditions
    out: Path
    jobs: int = 1


def benchmark_clips(
    seed: int | None, quick: bool, people: int, folders: Sequence[Path]
) -> tuple[list[MadeClip], list[BenchClip]]:
    """The clips to synthesise (none without a seed), and those in the user's folders.

    Raises UserError where two have one name.
    """
    made = [] if seed is None else made_clips(seed, quick, people)
    given = given_clips(folders)
    twice = {clip.name for clip in made} & {clip.name for clip in given}
    if twice:
        raise UserError(f"a clip of --clips is named '{min(twice)}', as one that is made up; rename it")
    return made, given


def run_fidelity(benchmark: Benchmark, tell: Callable[[str], None]) -> dict[str, Any]:
    """Make the clips, run what is missing, write the sheets; returns the table and all rows.

    tell is called with a line of progress. A method that fails on a clip is listed in `failed`, and has no
    row. Raises UserError for clips that cannot be used.
    """
    clips = [*_made(benchmark, tell), *benchmark.given]
    runs = [
        Run(c, method, benchmark.conditions, benchmark.out) for c in clips for method in benchmark.methods
    ]
    earlier = {run: run.earlier() for run in runs}
    rows = {run: row for run, row in earlier.items() if row is not None}
    missing = [run for run in runs if run not in rows]
    failed: list[str] = []
    began, measured = time.monotonic(), 0
    if rows:
        tell(f"{len(rows)} of {len(runs)} runs are there already")
    for run in {run.clip.name: run for run in missing}.values():
        tell(f"following the face in {run.clip.name}")
        prepare(run.clip, benchmark.out, run.settings)
    for run, found in _measured(missing, benchmark.jobs):
        measured += 1
        if isinstance(found, FailedRunError):
            failed.append(str(found))
            tell(f"failed: {found}")
            continue
        rows[run] = found
        left = (time.monotonic() - began) / measured * (len(missing) - measured)
        tell(
            f"[{len(runs) - len(missing) + measured}/{len(runs)}] {run.clip.name}  {run.method.name}  "
            f"{found['seconds']:.0f} s, {found['psnr_reconstruction']:.1f} dB  (about {clock(left)} left)"
        )
    ordered = [rows[run] for run in runs if run in rows]
    for clip in clips:
        _sheet(clip, [run for run in runs if run.clip is clip and run in rows], benchmark.out)
    return {
        "format": FORMAT,
        "machine": machine(),
        "options": list(benchmark.conditions.words),
        "lpips": benchmark.conditions.lpips_net,
        "identity": None if benchmark.conditions.identity is None else benchmark.conditions.identity.name,
        "jobs": benchmark.jobs,
        "threads": benchmark.conditions.threads,
        "rows": means(ordered, [method.name for method in benchmark.methods]),
        "clips": ordered,
        "failed": failed,
    }


def _made(benchmark: Benchmark, tell: Callable[[str], None]) -> list[BenchClip]:
    """The synthetic clips, rendered where they are missing."""
    found = []
    for number, clip in enumerate(benchmark.made, 1):

        def on_frame(
            done: int, total: int, what: str = f"{number}/{len(benchmark.made)} {clip.name}"
        ) -> None:
            if done == 1 or done == total or done % 8 == 0:
                tell(f"making clip {what}: frame {done}/{total}")

        found.append(make(clip, benchmark.out / "clips", on_frame))
    return found


def _measured(runs: Sequence[Run], jobs: int) -> Iterable[tuple[Run, dict[str, Any] | FailedRunError]]:
    """Yield each run as it ends, `jobs` at a time; stops the running ones when the caller stops."""

    def attempt(run: Run) -> dict[str, Any] | FailedRunError:
        try:
            return run.measure()
        except FailedRunError as error:
            return error

    pool = ThreadPoolExecutor(max(1, jobs))
    try:
        waiting = {pool.submit(attempt, run): run for run in runs}
        for done in as_completed(waiting):
            yield waiting[done], done.result()
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        stop_all()
        raise
    finally:
        pool.shutdown(wait=True)


def _sheet(clip: BenchClip, runs: Sequence[Run], out: Path) -> None:
    if not runs:
        return
    strips = [("truth", out / "strips" / clip.name / "truth.png"), *((r.method.name, r.strip) for r in runs)]
    edit = "" if clip.edit is None else f", {clip.edit.name}={clip.edit.strength:g}"
    folder = out / "sheets"
    folder.mkdir(parents=True, exist_ok=True)
    save_png(contact_sheet(f"{clip.name}{edit}", strips), folder / f"{clip.name}.png")
