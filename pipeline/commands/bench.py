"""`invid bench`: every inversion method on the same clips, judged against their truth."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from inverters import threads
from pipeline.commands.guard import say
from pipeline.errors import UnknownNameError, UserError
from pipeline.request.fields import Option
from pipeline.samples.settings import SEEDS

if TYPE_CHECKING:
    from pipeline.fidelity.benchmark import Benchmark
    from pipeline.fidelity.methods import BenchMethod
    from pipeline.fidelity.running import Conditions

BENCHMARKS = ("fidelity",)
_MOST_QUICK_JOBS = 4
_JOBS = "1; --quick: one a core"


def run(
    benchmark: Annotated[str, Option(metavar="fidelity")],
    /,
    *,
    methods: Annotated[str, Option(metavar="A,B", default="all")] = "",
    preset: Annotated[str, Option(metavar="NAME")] = "draft",
    seed: Annotated[int, Option(least=SEEDS[0], most=SEEDS[1])] = 1,
    people: Annotated[int, Option(metavar="N", least=1, most=2)] = 2,
    quick: bool = False,
    clips: Annotated[tuple[Path, ...], Option(metavar="DIR")] = (),
    only_clips: bool = False,
    out: Annotated[Path | None, Option(metavar="DIR", default="out/fidelity")] = None,
    generator: Annotated[str, Option(metavar="bundled|PATH")] = "bundled",
    device: Annotated[str, Option(metavar="auto|cpu|cuda[:N]")] = "auto",
    identity: Annotated[Path | None, Option(metavar="FILE")] = None,
    lpips: Annotated[str, Option(metavar="alex|vgg|squeeze")] = "alex",
    jobs: Annotated[int | None, Option(metavar="N", least=1, most=256, default=_JOBS)] = None,
    json: bool = False,
) -> int:
    """Run every inversion method on the same clips and judge them against the truth.

    Clips, rows and pictures are kept in the --out folder: a run that was interrupted goes on where it
    stopped. The exit code is 1 where a method failed on a clip.

    example: invid bench fidelity --quick

    Args:
        benchmark: Which benchmark.
        methods: These rows of the table.
        preset: Of every method.
        seed: Other heads, other motion.
        people: So many people behind each occluder.
        quick: 2 clips of 8 frames and few steps: a look, not a result.
        clips: Clips of yours, with truth; may be given several times.
        only_clips: Only those of --clips.
        out: Folder for rows, clips and sheets.
        generator: As in process-video.
        device: As in process-video.
        identity: Also compare identities, as in invid score.
        lpips: The network of LPIPS.
        jobs: So many side by side, sharing the cores.
        json: Print the rows as JSON; progress goes to standard error.
    """
    if benchmark not in BENCHMARKS:
        raise UnknownNameError(f"unknown benchmark '{benchmark}'; known: {', '.join(BENCHMARKS)}")
    if only_clips and not clips:
        raise UserError("--only-clips: there are none; give --clips DIR")
    from pipeline.fidelity.benchmark import Benchmark, benchmark_clips
    from pipeline.fidelity.methods import select_methods
    from pipeline.fidelity.running import Conditions

    jobs = jobs or _usual_jobs(quick)
    chosen = select_methods([name.strip() for name in methods.split(",") if name.strip()])
    chosen = [method.quick for method in chosen] if quick else chosen
    made, given = benchmark_clips(None if only_clips else seed, quick, people, clips)
    words = ("--preset", preset, "--generator", generator, "--device", device)
    conditions = Conditions(words, identity, lpips, threads.share(jobs))
    _check(chosen, conditions)
    out = out or Path("out") / ("fidelity-quick" if quick else "fidelity")
    return _run(Benchmark(made, given, chosen, conditions, out, jobs), json)


def _run(benchmark: Benchmark, as_json: bool) -> int:
    from json import dumps

    from pipeline.fidelity.benchmark import run_fidelity
    from pipeline.fidelity.table import as_text
    from pipeline.report.output_folder import output_errors

    threads.use(benchmark.conditions.threads)  # scores share the cores with the jobs
    with output_errors(benchmark.out):
        benchmark.out.mkdir(parents=True, exist_ok=True)
        found = run_fidelity(benchmark, lambda line: say(line, sys.stderr))
        text = dumps(found, indent=1, allow_nan=False)
        (benchmark.out / "fidelity.json").write_text(text + "\n")
    if as_json:
        print(text)
    else:
        print(as_text(found["rows"]))
        places = f"{benchmark.out / 'fidelity.json'}, pictures in {benchmark.out / 'sheets'}"
        say(places, sys.stderr)
    return 1 if found["failed"] else 0


def _usual_jobs(quick: bool) -> int:
    """One after the other, so that seconds are a method's own; a quick look takes all cores."""
    return min(threads.cores(), _MOST_QUICK_JOBS) if quick else 1


def _check(chosen: Sequence[BenchMethod], conditions: Conditions) -> None:
    """Check every name and file before anything is made."""
    from inverters.fitting.losses import lpips_weights
    from pipeline.request.checks import check_settings
    from pipeline.request.options import parse

    lpips_weights(conditions.lpips_net)
    if conditions.identity is not None:
        from pipeline.faces.identity import load_embedder

        load_embedder(conditions.identity)
    for method in chosen:
        check_settings(parse(["clip.mp4", *conditions.words, *method.words]).settings)
