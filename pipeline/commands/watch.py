"""Work on every clip that is put into a folder.

    invid watch IN --out OUT [options of process-video]

A clip is taken when it is complete: renamed into its place, or not written for --quiet seconds, open for
writing nowhere, and whole by its own headers. Each content is worked on once with each set of options,
whatever its name and however often this command is started again. `clip.yaml` beside `clip.mp4` holds
options of that clip, such as `edit: [smile=1.5]`. Results are in OUT/CLIP/, what failed is told in
OUT/failed/. The clips are never touched.
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path
from types import FrameType

from pipeline.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `invid watch`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = __doc__
    parser.add_argument("folder", type=Path, metavar="IN", help="the folder to watch, with all below it")
    parser.add_argument("--out", type=Path, required=True, metavar="OUT", help="folder for the results")
    parser.add_argument("--quiet", type=float, default=30.0, metavar="SECONDS", help="without a write (30)")
    parser.add_argument("--interval", type=float, default=30.0, metavar="SECONDS", help="between looks (30)")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="clips worked on at once (1)")
    parser.add_argument("--once", action="store_true", help="take what is there, and end")
    parser.epilog = (
        "Every other option is one of process-video, for all clips: --edit, --preset, --cache, ...; "
        "--submit lets Prefect's workers do the work"
    )


def run(args: argparse.Namespace, options: list[str]) -> int:
    """Watch until interrupted; 0. Raises UserError."""
    from pipeline.request.options import process_arguments
    from pipeline.request.submission import deployment_of, words_of
    from pipeline.watch.watcher import Watcher

    for least, value, name in (
        (0, args.quiet, "quiet"),
        (0.1, args.interval, "interval"),
        (1, args.jobs, "jobs"),
    ):
        if value < least:
            raise UserError(f"--{name} must be {least:g} or more, not {value:g}")
    parser = process_arguments()
    parsed = parser.parse_args(["clip", *options])
    if parsed.out is not None or parsed.json or parsed.input != Path("clip"):
        raise UserError("invid watch takes one folder and one --out, and no --json")

    def say(line: str) -> None:
        print(line, flush=True)

    # As words that mean the same in any folder, and to whoever works on the clips.
    options = words_of(parsed, parser)
    deployment = None if parsed.submit is None else deployment_of(parsed.submit)
    watcher = Watcher(args.folder, args.out, options, args.quiet, args.jobs, say, deployment)

    def ended(number: int, frame: FrameType | None) -> None:
        print("invid: ending; the clip at work is gone on with next time", file=sys.stderr)
        watcher.stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, ended)
    say(f"watching {args.folder}, results in {args.out}; Ctrl-C ends it")
    if args.once:
        watcher.run_once()
    else:
        watcher.run(args.interval)
    return 0
