"""`invid process-folder`: hand a folder of clips to Prefect's workers, and wait for them."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated, Any

from pipeline.commands.guard import INTERRUPTED, fail, say
from pipeline.commands.watch import submitted_fields
from pipeline.errors import UserError
from pipeline.request.fields import Expand, Option
from pipeline.request.options import request_of

POLL = 3.0
"""Seconds between two questions after the run."""


def run(
    folder: Annotated[Path, Option(metavar="IN")],
    /,
    *,
    out: Annotated[Path, Option(metavar="OUT")],
    again: bool = False,
    wait: bool = False,
    deployment: Annotated[str, Option(metavar="NAME")] = "process-video/default",
    given: Annotated[dict[str, Any], Expand(submitted_fields)],
) -> int:
    """Hand every clip below a folder to Prefect's workers; the options of process-video hold for all of them.

    One run is the parent of the clips' runs: it submits each content once with each set of options, shows
    progress and a table, and goes on without this command. Results are in OUT/CLIP/, reasons of failures in
    OUT/failed/. PREFECT_API_URL names the server, as `invid serve` tells.

    example: invid process-folder IN --out OUT --edit smile=1.5 --wait

    Args:
        folder: The folder of clips, with all below it.
        out: Folder for the results.
        again: Also try again what failed before with these options.
        wait: Wait until all clips have ended; the exit code is 1 where one has failed.
        deployment: Which deployment runs the clips, such as process-video/urgent.
        given: Options of process-video.
    """
    from pipeline.request.submission import submit_folder

    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder of clips")
    if folder.resolve() == out.resolve():
        raise UserError(f"--out {out}: results would be taken for clips; name another folder")
    submitted = submit_folder(request_of(Path("clip"), given), folder, out, again, deployment)
    try:
        say(f"submitted as {submitted}")
        return _ending(submitted) if wait else 0
    except KeyboardInterrupt:
        more = "the same command waits for its clips again"
        return fail(f"interrupted; {submitted} goes on without this command; {more}", INTERRUPTED)


def _ending(submitted: str) -> int:
    """Wait for the end of a run, with a line for each change; returns the exit code."""
    from pipeline.request.submission import folder_progress
    from pipeline.watch.ledger import DONE, LOST
    from pipeline.watch.submissions import UnreachableError

    told = ""
    while True:
        try:
            line, state, reason = folder_progress(submitted)
            stream = sys.stdout
        except UnreachableError as error:
            line, state, reason = f"{error} Waiting; nothing is lost meanwhile", "", ""
            stream = sys.stderr
        if line and line != told:
            say(line, stream)
            told = line
        if state == DONE:
            return 0
        if state == LOST:
            return fail(f"the server knows nothing of {submitted} any more; give the same command again", 1)
        if state:
            return fail(reason, 1)
        time.sleep(POLL)
