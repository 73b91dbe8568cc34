"""`invid bench fidelity`: every inversion method on the same clips, judged against the truth about them.

Clips, rows and pictures are kept in the --out folder: a run that was interrupted goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inverters.rendering import threads
from pipeline.directions.strips import save_png
from pipeline.errors import UnknownNameError, UserError
from pipeline.fidelity.clips import BenchClip, MadeClip, given_clips, made_clips, make
from pipeline.fidelity.pictures import contact_sheet
from pipeline.fidelity.rivals import Rival, chosen_rivals
from pipeline.fidelity.running import Conditions, FailedRunError, Run, prepare, stop_all
from pipeline.fidelity.table import as_text, means
from pipeline.job.progress import clock
from pipeline.machine import machine
from pipeline.report.output_folder import output_errors

FORMAT = 1
BENCHMARKS = ("fidelity",)
_MOST_QUICK_JOBS = 4


@dataclass(frozen=True)
class Request:
    """What is to be run, and where it is kept."""

    made: Sequence[MadeClip]
    given: Sequence[BenchClip]
    rivals: Sequence[Rival]
    conditions: Conditions
    out: Path
    jobs: int = 1


def run_fidelity(request: Request, tell: Callable[[str], None]) -> dict[str, Any]:
    """Make the clips, run what is not there yet, clip by clip; returns the rows and writes the sheets.

    tell: is given a line now and then. Raises UserError for clips that cannot be used; a method that fails on
    a clip is among `failed`, and its row is missing.
    """
    clips = [*_made(request, tell), *request.given]
    runs = [Run(c, rival, request.conditions, request.out) for c in clips for rival in request.rivals]
    failed: list[str] = []
    began, measured = time.monotonic(), 0
    rows: dict[Run, dict[str, Any]] = {}
    missing = []
    for run in runs:
        row = run.earlier()
        if row is None:
            missing.append(run)
        else:
            rows[run] = row
    if rows:
        tell(f"{len(rows)} of {len(runs)} runs are there already")
    for run in {run.clip.name: run for run in missing}.values():
        tell(f"following the face in {run.clip.name}")
        prepare(run.clip, request.out, run.settings)
    for run, found in _measured(missing, request.jobs):
        measured += 1
        if isinstance(found, FailedRunError):
            failed.append(str(found))
            tell(f"failed: {found}")
            continue
        rows[run] = found
        left = (time.monotonic() - began) / measured * (len(missing) - measured)
        tell(
            f"[{len(runs) - len(missing) + measured}/{len(runs)}] {run.clip.name}  {run.rival.name}  "
            f"{found['seconds']:.0f} s, {found['psnr_reconstruction']:.1f} dB  (about {clock(left)} left)"
        )
    ordered = [rows[run] for run in runs if run in rows]
    for clip in clips:
        _sheet(clip, [run for run in runs if run.clip is clip and run in rows], request.out)
    return {
        "format": FORMAT,
        "machine": machine(),
        "options": list(request.conditions.words),
        "lpips": request.conditions.lpips_net,
        "identity": None if request.conditions.identity is None else request.conditions.identity.name,
        "jobs": request.jobs,
        "threads": request.conditions.threads,
        "rows": means(ordered, [rival.name for rival in request.rivals]),
        "clips": ordered,
        "failed": failed,
    }


def _made(request: Request, tell: Callable[[str], None]) -> list[BenchClip]:
    """The made-up clips, from an earlier run or made now."""
    found = []
    for number, clip in enumerate(request.made, 1):

        def on_frame(done: int, total: int, what: str = f"{number}/{len(request.made)} {clip.name}") -> None:
            if done == 1 or done == total or done % 8 == 0:
                tell(f"making clip {what}: frame {done}/{total}")

        found.append(make(clip, request.out / "clips", on_frame))
    return found


def _measured(runs: Sequence[Run], jobs: int) -> Iterable[tuple[Run, dict[str, Any] | FailedRunError]]:
    """Each run as it ends, `jobs` at a time; what runs is stopped when the caller is."""

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
    strips = [("truth", out / "strips" / clip.name / "truth.png"), *((r.rival.name, r.strip) for r in runs)]
    edit = "" if clip.edit is None else f", {clip.edit.name}={clip.edit.strength:g}"
    folder = out / "sheets"
    folder.mkdir(parents=True, exist_ok=True)
    save_png(contact_sheet(f"{clip.name}{edit}", strips), folder / f"{clip.name}.png")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `invid bench`."""
    add = parser.add_argument
    add("benchmark", metavar="fidelity", help="which benchmark")
    add("--methods", metavar="A,B", default="", help="these rows of the table (all)")
    add("--preset", default="draft", metavar="NAME", help="of every method (draft)")
    add("--seed", type=int, default=1, help="other heads, other motion (1)")
    add("--quick", action="store_true", help="2 clips of 8 frames, few steps: a look, not a result")
    add("--clips", type=Path, action="append", default=[], metavar="DIR", help="clips of yours, with truth")
    add("--only-clips", action="store_true", help="of --clips alone; nothing is made up")
    add("--out", type=Path, metavar="DIR", help="rows, clips and sheets (out/fidelity)")
    add("--generator", default="bundled", metavar="bundled|PATH", help="as in process-video")
    add("--device", default="auto", help="auto, cpu or cuda (auto)")
    add("--identity", type=Path, metavar="FILE", help="also say who it is, as in `invid score`")
    add("--lpips", default="alex", metavar="NET", help="the network of LPIPS: alex, vgg or squeeze (alex)")
    add("--jobs", type=int, metavar="N", help="so many side by side, sharing cores (1; --quick: one a core)")
    add("--json", action="store_true", help="print the rows as JSON; progress goes to standard error")


def request_from(args: argparse.Namespace) -> Request:
    """The options as a request; nothing is written. Raises UserError and its kin."""
    if args.benchmark not in BENCHMARKS:
        raise UnknownNameError(f"unknown benchmark '{args.benchmark}'; known: {', '.join(BENCHMARKS)}")
    jobs = args.jobs if args.jobs is not None else _usual_jobs(args.quick)
    if jobs < 1:
        raise UserError(f"--jobs must be 1 or more, not {jobs}")
    if args.only_clips and not args.clips:
        raise UserError("--only-clips: there are none; give --clips DIR")
    rivals = chosen_rivals([name.strip() for name in args.methods.split(",") if name.strip()])
    words = ["--preset", args.preset, "--generator", args.generator, "--device", args.device]
    if args.quick:
        rivals = [rival.quick for rival in rivals]
    made = [] if args.only_clips else made_clips(args.seed, args.quick)
    given = given_clips(args.clips)
    twice = {clip.name for clip in made} & {clip.name for clip in given}
    if twice:
        raise UserError(f"a clip of --clips is named '{min(twice)}', as one that is made up; rename it")
    conditions = Conditions(tuple(words), args.identity, args.lpips, threads.share(jobs))
    _check(rivals, conditions, args)
    out = args.out or Path("out") / ("fidelity-quick" if args.quick else "fidelity")
    return Request(made, given, rivals, conditions, out, jobs)


def _usual_jobs(quick: bool) -> int:
    """One after the other, so that seconds are a method's own; a quick look takes all cores."""
    return min(threads.cores(), _MOST_QUICK_JOBS) if quick else 1


def _check(rivals: Sequence[Rival], conditions: Conditions, args: argparse.Namespace) -> None:
    """Every name and file, before anything is made."""
    from inverters.fitting.losses import lpips_weights
    from pipeline.request.checks import check_settings
    from pipeline.request.options import process_arguments, settings_from

    lpips_weights(conditions.lpips_net)
    if conditions.identity is not None:
        from pipeline.faces.identity import load_embedder

        load_embedder(conditions.identity)
    for rival in rivals:
        words = ["clip.mp4", *conditions.words, *rival.words]
        check_settings(settings_from(process_arguments().parse_args(words)))


def run(args: argparse.Namespace) -> int:
    """`invid bench`: the table on standard output; returns 0, or 1 where a method failed on a clip."""
    request = request_from(args)
    threads.use(request.conditions.threads)  # scores share the cores with the jobs
    with output_errors(request.out):
        request.out.mkdir(parents=True, exist_ok=True)
        found = run_fidelity(request, lambda line: print(line, file=sys.stderr, flush=True))
        text = json.dumps(found, indent=1, allow_nan=False)
        (request.out / "fidelity.json").write_text(text + "\n")
    if args.json:
        print(text)
    else:
        print(as_text(found["rows"]))
        print(f"{request.out / 'fidelity.json'}, pictures in {request.out / 'sheets'}", file=sys.stderr)
    return 1 if found["failed"] else 0
