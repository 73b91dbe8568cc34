"""The flow `watch-folder`: one look at a watched folder.

Its deployment has a schedule and a work pool of its own: a run that never ends would hold a worker.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows.parameters import SettingsForm
from flows.process_folder import run_name
from flows.roots import words_of_folder_run
from flows.run_page import begin_run, failed
from flows.submit import PrefectDeployment
from pipeline.errors import UserError
from pipeline.watch.watcher import Watcher


@flow(name="watch-folder", flow_run_name=run_name, persist_result=False)
def watch_folder(
    folder: Path,
    out: Path,
    settings: SettingsForm = None,
    quiet: float = 30.0,
    deployment: str = "process-video/default",
    options: list[str] | None = None,
) -> State[Any]:
    """Submit what is new and complete in a folder, each content once, however often this runs.

    What is new is looked at twice, `quiet` seconds apart at most; a clip that is not ready by then is
    found by the next run. What has failed since the last look is noted in OUT/failed/.

    Args:
        folder: The folder of clips, by its absolute path.
        out: Folder for the results, by its absolute path; those of a clip go to OUT/CLIP/.
        settings: Options of the command process-video for all clips; what is left empty keeps its default.
        quiet: Seconds without a write after which a file counts as complete.
        deployment: Which deployment runs the clips, such as process-video/urgent.
        options: For scripts: words of the command process-video; settings count more.

    Returns:
        Completed with the number of clips in each state, or Failed where there is no such folder.
    """
    say = get_run_logger().info
    begin_run(folder.name)
    try:
        words = words_of_folder_run(folder, out, options, settings)
        watcher = Watcher(folder, out, words, quiet, 1, say, PrefectDeployment(deployment))
        watcher.look_twice()
    except UserError as error:
        return failed(error)
    counts = watcher.ledger.counts()
    return Completed(message=str(counts), data=counts)
