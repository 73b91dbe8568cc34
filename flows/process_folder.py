"""The flow `process-folder`: a run of `process-video` for every clip that lies in a folder now."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger

from flows.submit import submit_to
from pipeline.errors import UserError
from pipeline.watch.watcher import Watcher


@flow(name="process-folder", persist_result=False)
def process_folder(
    folder: Path,
    out: Path,
    options: list[str] | None = None,
    deployment: str = "process-video/default",
) -> dict[str, Any]:
    """Submit every clip below `folder`, each content once; returns how many are known and submitted.

    Results go to OUT/CLIP/. A file that is still being written is left for the next time.
    """
    log = get_run_logger()
    try:
        watcher = Watcher(folder, out, options or [], 1.0, say=log.info, submit=submit_to(deployment))
    except UserError as error:
        raise ValueError(str(error)) from None
    watcher.run_once()
    records = watcher.ledger.all()
    return {"clips": len(records), "submitted": sum(bool(r.run) for r in records)}
