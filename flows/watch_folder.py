"""The flow `watch-folder`: one look at a watched folder. Its deployment has a timer and a pool of its own, as
a run that never ends would hold a worker.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger

from flows.submit import submit_to
from pipeline.watch.watcher import Watcher


@flow(name="watch-folder", persist_result=False)
def watch_folder(
    folder: Path,
    out: Path,
    options: list[str] | None = None,
    quiet: float = 30.0,
    deployment: str = "process-video/default",
) -> dict[str, Any]:
    """Submit what is new and complete in `folder`, each content once, however often this runs.

    What is new is looked at twice, `quiet` seconds apart at most; a clip that is not ready by then is
    found by the next run.
    """
    log = get_run_logger()
    watcher = Watcher(folder, out, options or [], quiet, say=log.info, submit=submit_to(deployment))
    watcher.look_twice()
    records = watcher.ledger.all()
    return {"clips": len(records), "submitted": sum(bool(r.run) for r in records)}
