"""The flow `process-folder`: the parent of a run of `process-video` for every clip that lies in a folder now.

prefect deployment run process-folder/default -p folder=/clips -p out=/results
prefect deployment run process-folder/default -p folder=/clips -p out=/results -p again=true
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed

from flows.artifacts import Bar, Table
from flows.parameters import SettingsForm, given
from flows.roots import words_of_folder_run
from flows.run_page import begin_run, escaped, failed, link_to
from flows.submit import PrefectDeployment, name_of
from pipeline.errors import UserError
from pipeline.watch.ledger import DONE, FAILED, SUBMITTED, Ledger, Record
from pipeline.watch.submissions import UnreachableError
from pipeline.watch.watcher import Watcher

POLL = 5.0
"""Seconds between two questions after the clips."""
MOST_ROWS = 500
"""Clips in the table; it lies in Prefect's database. Failed ones come first."""
_ORDER = (FAILED, SUBMITTED, "", DONE)
_REASONS = 3


def run_name() -> str:
    """The folder, and what is done to its clips."""
    asked = flow_run.parameters
    folder = Path(str(asked["folder"]))
    return name_of(f"{folder.name}/", asked.get("options") or [], given(asked.get("settings")))


@flow(name="process-folder", flow_run_name=run_name, persist_result=False)
def process_folder(
    folder: Path,
    out: Path,
    settings: SettingsForm = None,
    again: bool = False,
    wait: bool = True,
    deployment: str = "process-video/default",
    options: list[str] | None = None,
) -> State[Any]:
    """Process every clip below a folder, each content once with each set of options.

    A file that is still being written is left for the next time. Cancelling this run cancels its clips.

    Args:
        folder: The folder of clips, by its absolute path.
        out: Folder for the results, by its absolute path; those of a clip go to OUT/CLIP/.
        settings: Options of the command process-video for all clips; what is left empty keeps its default.
        again: Also try again what failed before with these options.
        wait: End when all clips have ended; otherwise as soon as they are submitted.
        deployment: Which deployment runs the clips, such as process-video/urgent.
        options: For scripts: words of the command process-video; settings count more.

    Returns:
        Completed with the number of clips in each state. Failed where a clip failed, with the first reasons,
        and for bad input.
    """
    log = get_run_logger()
    begin_run(folder.name)
    try:
        words = words_of_folder_run(folder, out, options, settings)
        if again:
            _ask_again(Ledger(out), words)
        children = PrefectDeployment(deployment, as_children=True)
        watcher = Watcher(folder, out, words, 1.0, 1, log.info, children)
        submit_all(watcher)
        return followed(watcher, words, folder.name, wait)
    except UserError as error:
        return failed(error)


def submit_all(watcher: Watcher) -> None:
    """Submit every clip, however long the server is away. Raises UserError where it refuses one."""
    while True:
        try:
            return watcher.run_once()
        except UnreachableError:
            time.sleep(POLL)


def _ask_again(ledger: Ledger, words: list[str]) -> None:
    """Delete the notes on failures, which is how a person asks for another try."""
    for record in _records(ledger, words):
        if record.state == FAILED:
            ledger.note(record).unlink(missing_ok=True)


def _records(ledger: Ledger, words: list[str]) -> list[Record]:
    """Clips that were taken with these options, and files that were refused; no failure that was mended."""
    found = (r for r in ledger.all() if r.is_refusal or r.options[: len(words)] == words)
    return [record for record in found if not ledger.asked_again(record)]


def followed(watcher: Watcher, words: list[str], name: str, wait: bool) -> State[Any]:
    """Follow the clips until all have ended, or for one look where nobody waits.

    Raises UserError where the server refuses a clip that it is to run again.
    """
    ledger = watcher.ledger
    bar, table = Bar(), Table("clips")
    before: list[Record] = []
    while True:
        watcher.collect()
        if wait and not all(record.state for record in _records(ledger, words)):
            watcher.scan()
        found = sorted(_records(ledger, words), key=lambda record: _ORDER.index(record.state))
        open_ = sum(record.state not in (DONE, FAILED) for record in found)
        if found != before:
            table.set(
                [_row(record, ledger.out) for record in found[:MOST_ROWS]], f"{name}: {_counted(found)}"
            )
            ended = len(found) - open_
            bar.set(ended / len(found), f"{name}: {ended} of {len(found)} clips have ended")
            before = found
        if not (wait and (watcher.waits() or any(record.state == SUBMITTED for record in found))):
            return _outcome(found)
        time.sleep(POLL)


def _row(record: Record, out: Path) -> dict[str, str]:
    """A row of the table, in Markdown."""
    run = record.run.rpartition(" ")[2]
    return {
        "clip": link_to(run, escaped(record.name)) if run else escaped(record.name),
        "state": record.state or "waiting",
        "reason or results": escaped(record.reason if record.state == FAILED else str(out / record.folder)),
    }


def _counted(found: Sequence[Record]) -> str:
    """The clips by state, such as `3 submitted, 10 done`."""
    counts = Counter(record.state or "waiting" for record in found)
    return ", ".join(f"{number} {state}" for state, number in counts.items()) or "no clips"


def _outcome(found: Sequence[Record]) -> State[Any]:
    bad = [record for record in found if record.state == FAILED]
    if not bad:
        return Completed(message=_counted(found))
    reasons = "; ".join(f"{record.name}: {record.reason}" for record in bad[:_REASONS])
    more = f"; and {len(bad) - _REASONS} more" if len(bad) > _REASONS else ""
    return failed(f"{len(bad)} of {len(found)} clips failed ({reasons}{more}); `again` tries them again")
