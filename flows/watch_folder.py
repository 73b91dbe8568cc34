"""The flow `watch-folder`: one look at a watched folder.

Its deployment has a schedule and a work pool of its own: a run that never ends would hold a worker.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from flows.roots import words_of_folder_run
from flows.submit import PrefectDeployment
from pipeline.errors import UserError
from pipeline.watch.watcher import Watcher


@flow(name="watch-folder", persist_result=False)
def watch_folder(
    folder: Path,
    out: Path,
    options: list[str] | None = None,
    quiet: float = 30.0,
    deployment: str = "process-video/default",
) -> State[Any]:
    """Submit what is new and complete in `folder`, each content once, however often this runs.

    What is new is looked at twice, `quiet` seconds apart at most; a clip that is not ready by then is
    found by the next run. What has failed since the last look is noted in OUT/failed/.

    Returns:
        Completed with the number of clips in each state, or Failed where there is no such folder.
    """
    say = get_run_logger().info
    try:
        words = words_of_folder_run(folder, out, options)
        watcher = Watcher(folder, out, words, quiet, 1, say, PrefectDeployment(deployment))
        watcher.look_twice()
    except UserError as error:
        return Failed(message=str(error))
    counts = watcher.ledger.counts()
    return Completed(message=str(counts), data=counts)
