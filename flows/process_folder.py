"""The flow `process-folder`: a run of `process-video` for every clip that lies in a folder now."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from flows.roots import check_folder_run
from flows.submit import PrefectDeployment
from pipeline.errors import UserError
from pipeline.watch.watcher import Watcher


@flow(name="process-folder", persist_result=False)
def process_folder(
    folder: Path,
    out: Path,
    options: list[str] | None = None,
    deployment: str = "process-video/default",
) -> State[Any]:
    """Submit every clip below `folder`, each content once. Results go to OUT/CLIP/.

    A file that is still being written is left for the next time.

    Returns:
        Completed with the number of clips in each state, or Failed where there is no such folder.
    """
    say = get_run_logger().info
    try:
        check_folder_run(folder, out, options)
        watcher = Watcher(folder, out, options or [], 1.0, 1, say, PrefectDeployment(deployment))
        watcher.run_once()
    except UserError as error:
        return Failed(message=str(error))
    counts = watcher.ledger.counts()
    return Completed(message=str(counts), data=counts)
