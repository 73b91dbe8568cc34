"""`invid watch`: process every clip that is put into a folder."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

from pipeline.commands.guard import ENDINGS, handle, say
from pipeline.request.fields import Expand, Field, Option
from pipeline.request.options import process_fields, request_of, to_words

_OWN_CALL = ("out", "json", "quiet", "print_settings")
"""Options of process-video that a watcher has no use for."""


def clip_fields() -> list[Field]:
    """The options of process-video that a watcher takes for all clips."""
    return [field for field in process_fields() if field.key not in _OWN_CALL]


def submitted_fields() -> list[Field]:
    """Those that hold for clips which Prefect's workers take."""
    return [field for field in clip_fields() if field.key != "submit"]


def run(
    folder: Annotated[Path, Option(metavar="IN")],
    /,
    *,
    out: Annotated[Path, Option(metavar="OUT")],
    quiet: Annotated[float, Option(metavar="SECONDS", least=0, most=10**6)] = 30.0,
    interval: Annotated[float, Option(metavar="SECONDS", least=0.1, most=10**6)] = 30.0,
    jobs: Annotated[int, Option(metavar="N", least=1, most=256)] = 1,
    free: Annotated[str, Option(metavar="SIZE")] = "2GB",
    once: bool = False,
    given: Annotated[dict[str, Any], Expand(clip_fields)],
) -> int:
    """Process every clip that is put into a folder; the options of process-video hold for all of them.

    A clip is taken when it is complete: renamed into its place, or not written for --quiet seconds, open for
    writing nowhere, and whole by its own headers. Each content is processed once with each set of options,
    whatever its name and however often this command is started again. clip.yaml beside clip.mp4 holds options
    of that clip, such as "edit: [smile=1.5]". Results are in OUT/CLIP/, reasons of failures in OUT/failed/.
    The clips are never touched.

    Args:
        folder: The folder to watch, with all below it.
        out: Folder for the results.
        quiet: Time without a write after which a file is complete.
        interval: Time between two looks at the folder.
        jobs: Clips processed at once.
        free: Space that must be free on the disks of OUT and the cache; clips wait until it is.
        once: Take what is there, and end.
        given: Options of process-video.
    """
    from pipeline.commands.cache import size_of
    from pipeline.request.submission import deployment_of, portable
    from pipeline.watch.watcher import Watcher

    request = request_of(Path("clip"), given)
    deployment = None if request.submit is None else deployment_of(request.submit)
    # As words that mean the same in any folder, and to whoever works on the clips.
    words = to_words(portable(request))
    watcher = Watcher(folder, out, words, quiet, jobs, say, deployment, size_of(free))

    def ended(number: int, frame: FrameType | None) -> None:
        print("invid: ending; the clip at work is gone on with next time", file=sys.stderr)
        watcher.stop()

    handle((signal.SIGINT, *ENDINGS), ended)
    say(f"watching {folder}, results in {out}; Ctrl-C ends it")
    if once:
        watcher.run_once()
    else:
        watcher.run(interval)
    return 0
