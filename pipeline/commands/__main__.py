"""`invid` and `process-video`: what is typed becomes a request; what goes wrong becomes one line."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import InvidError
from pipeline.job.caches import default_cache
from pipeline.request.options import process_arguments, settings_from

USAGE = """usage: invid COMMAND ...

Edit faces in video by 3D GAN inversion, even behind a mask, glasses or a hand.

commands:
  process          edit the face in a clip (the same as process-video)
  sample           write a made-up talking clip, and the truth about it
  score            compare a result with the truth of a made-up clip
  bench            every method on the same clips, judged against their truth
  train-generator  train the bundled generator
  train-judge      train the network that measures edits of the bundled generator
  train-landmark-judge  fit the map from landmarks that measures its expressions
  directions       find, list and show the directions of edits
  calibrate        find a generator's landmarks and crop rule, once
  serve            run jobs through Prefect on this machine
  watch            work on every clip that is put into a folder
  cache            what the cache holds; check it, make room in it
  doctor           what is installed and found, to paste into a bug report

`invid COMMAND --help` tells the options of each.
"""
INTERRUPTED = 130


def _process(argv: Sequence[str]) -> int:
    args = process_arguments().parse_args(argv)
    return _guarded(lambda: _run_process(args), args.debug)


def _run_process(args: argparse.Namespace) -> int:
    from pipeline.job.progress import Progress, TextProgress

    stream = sys.stderr if args.json else sys.stdout
    settings = settings_from(args)
    out = args.out or Path("out") / args.input.stem
    cache = args.cache or default_cache()
    if args.submit is not None:
        from pipeline.request.checks import check_request
        from pipeline.request.submission import submit

        check_request(args.input, out, settings)
        print(f"submitted as {submit(args, process_arguments(), out)}", file=stream)
        return 0
    from pipeline.job.finished import already_done

    manifest = already_done(args.input, out, settings, args.preset)
    if manifest is not None:
        if not args.quiet:
            print("nothing to do: the results of this very request are there already", file=stream)
        return _tell(args, out, manifest)
    with Progress() if args.quiet else TextProgress(stream) as progress:
        progress.start("checking")
        progress.say(f"{args.input} -> {out}")
        from pipeline.request.checks import check_request, with_default_preset

        check_request(args.input, out, settings)
        progress.start("loading")
        from pipeline.job.walker import Job

        if args.preset is None:
            settings = with_default_preset(settings)

        job = Job(args.input, out, cache, settings, progress)
        try:
            manifest = job.run()
        except KeyboardInterrupt:
            progress.close()
            where = f" in stage {job.current}" if job.current else ""
            print(
                f"invid: interrupted{where}; give the same command again to go on from there "
                f"(finished stages are kept in {cache})",
                file=sys.stderr,
            )
            return INTERRUPTED
    return _tell(args, out, manifest)


def _tell(args: argparse.Namespace, out: Path, manifest: dict[str, Any]) -> int:
    """What a finished job leaves on standard output."""
    if args.json:
        print(json.dumps(manifest, indent=1, allow_nan=False))
    elif not args.quiet:
        for name, file in manifest["outputs"].items():
            print(f"{name:<15} {out / file}")
    return 0


def _sample(argv: Sequence[str]) -> int:
    return _forwarded("invid sample", "pipeline.samples.sample", argv)


def _cache(argv: Sequence[str]) -> int:
    return _forwarded("invid cache", "pipeline.commands.cache", argv)


def _directions(argv: Sequence[str]) -> int:
    return _forwarded("invid directions", "pipeline.commands.directions", argv)


def _watch(argv: Sequence[str]) -> int:
    def run() -> int:
        from pipeline.commands import watch as watch_command

        parser = argparse.ArgumentParser(prog="invid watch")
        watch_command.add_arguments(parser)
        args, options = parser.parse_known_args(argv)
        return watch_command.run(args, options)

    return _guarded(run, debug=False)


def _serve(argv: Sequence[str]) -> int:
    # By name: flows stand above the pipeline, and Prefect is not loaded for anything else.
    return _forwarded("invid serve", "flows.serve", argv)


def _score(argv: Sequence[str]) -> int:
    return _forwarded("invid score", "pipeline.scoring.score", argv)


def _bench(argv: Sequence[str]) -> int:
    return _forwarded("invid bench", "pipeline.fidelity.command", argv)


def _forwarded(prog: str, module: str, argv: Sequence[str]) -> int:
    """A command that lives in its own module, with `add_arguments(parser)` and `run(args)`."""
    import importlib

    def run() -> int:
        command: Any = importlib.import_module(module)
        parser = argparse.ArgumentParser(prog=prog, description=(command.__doc__ or "").partition("\n")[0])
        command.add_arguments(parser)
        return int(command.run(parser.parse_args(argv)))

    return _guarded(run, debug=False)


def _train(argv: Sequence[str]) -> int:
    def run() -> int:
        from inverters.training.train_generator import main as train

        return int(train(list(argv)))

    return _guarded(run, debug=False)


def _calibrate(argv: Sequence[str]) -> int:
    return _forwarded("invid calibrate", "pipeline.commands.calibrate", argv)


def _train_judge(argv: Sequence[str]) -> int:
    def run() -> int:
        from inverters.training.train_judge import main

        return main(list(argv))

    return _guarded(run, debug=False)


def _train_landmark_judge(argv: Sequence[str]) -> int:
    def run() -> int:
        from pipeline.scoring.judge import main

        return main(list(argv))

    return _guarded(run, debug=False)


def _doctor(argv: Sequence[str]) -> int:
    def run() -> int:
        from pipeline.commands import doctor

        parser = argparse.ArgumentParser(prog="invid doctor", description=doctor.__doc__)
        doctor.add_arguments(parser)
        return doctor.run(parser.parse_args(argv))

    return _guarded(run, debug=False)


COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "process": _process,
    "sample": _sample,
    "score": _score,
    "bench": _bench,
    "train-generator": _train,
    "train-judge": _train_judge,
    "train-landmark-judge": _train_landmark_judge,
    "directions": _directions,
    "calibrate": _calibrate,
    "cache": _cache,
    "watch": _watch,
    "serve": _serve,
    "doctor": _doctor,
}


def _guarded(run: Callable[[], int], debug: bool) -> int:
    """Run a command; anything that stops it becomes one line on standard error and an exit code."""
    with contextlib.suppress(ValueError):  # only the main thread may; elsewhere the caller decides
        signal.signal(signal.SIGTERM, _terminated)
    try:
        return run()
    except InvidError as error:
        return _fail(error, error.exit_code)
    except KeyboardInterrupt:
        return _fail("interrupted; give the same command again to go on", INTERRUPTED)
    except BrokenPipeError:
        # whoever read our output has gone; standard output must not be flushed into it once more at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if _is_full(error):
            return _fail(
                f"the disk is full ({error}); free some space, or name other --out and --cache folders", 2
            )
        if _is_users(error):
            return _fail(error, 2)
        return _unexpected(error, debug)


def _is_users(error: Exception) -> bool:
    """Errors of the packages below, which know nothing of exit codes."""
    from storage import StorageError

    errors = sys.modules.get("inverters.errors")
    return isinstance(error, StorageError) or (errors is not None and isinstance(error, errors.InverterError))


def _is_full(error: Exception) -> bool:
    """A full disk that was met where nobody else names it, such as by a checkpoint of an inversion."""
    from storage.errors import is_full

    if isinstance(error, OSError):
        return is_full(error)
    # safetensors passes the system's answer on as text only; 28 is ENOSPC, 27 EFBIG
    return type(error).__name__ == "SafetensorError" and any(
        f"(os error {n})" in str(error) for n in (27, 28)
    )


def _fail(error: Exception | str, code: int) -> int:
    print("invid: " + " ".join(str(error).split()), file=sys.stderr)
    return code


def _unexpected(error: Exception, debug: bool) -> int:
    what = f"unexpected {type(error).__name__}: {error}"
    if not debug:
        return _fail(f"{what}; please report it, with the file that --debug writes", 1)
    with tempfile.NamedTemporaryFile("w", prefix="invid-", suffix=".log", delete=False) as file:
        file.write("".join(traceback.format_exception(error)))
    return _fail(f"{what}; the traceback is in {file.name}", 1)


def _terminated(number: int, frame: object) -> None:
    """SIGTERM is treated like Ctrl-C, so that drafts are removed."""
    raise KeyboardInterrupt


def main(argv: Sequence[str] | None = None) -> int:
    """The console command `invid`."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help"):
        print(USAGE, end="")
        return 0 if words else 2
    if words[0] == "--version":
        from importlib.metadata import version

        print(f"invid {version('invid')}")
        return 0
    command = COMMANDS.get(words[0])
    if command is None:
        return _fail(f"unknown command '{words[0]}'; known: {', '.join(COMMANDS)}", 2)
    return command(words[1:])


def process_video(argv: Sequence[str] | None = None) -> int:
    """The console command `process-video`."""
    return _process(list(sys.argv[1:] if argv is None else argv))


if __name__ == "__main__":
    sys.exit(main())
