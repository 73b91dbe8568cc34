"""Handing clips and folders of clips to a deployment, and asking what becomes of their runs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    ArtifactFilterKey,
    FlowRunFilter,
    FlowRunFilterId,
)
from prefect.client.schemas.objects import State
from prefect.client.schemas.sorting import ArtifactSort
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound

from pipeline.errors import UserError
from pipeline.watch.ledger import DONE, FAILED, LOST
from pipeline.watch.submissions import UnreachableError

FOLDERS = "process-folder/default"
"""The deployment that runs folders."""
_PASSING = (403, 408, 429)
"""HTTP statuses below 500 that pass: a token that a restarted server does not know, and too many requests."""
_AT_ONCE = 200
"""Runs asked after in one query, which is the most that the server answers."""


class PrefectDeployment:
    """Clips go to a deployment of Prefect's, such as process-video/default.

    as_children: their runs are children of the run that submits them.
    """

    def __init__(self, name: str, as_children: bool = False) -> None:
        self.name, self.as_children = name, as_children

    def submit(self, clip: Path, out: Path, options: Sequence[str], key: str) -> str:
        """The run, as its name and id. Raises UserError."""
        return submit_request(self.name, clip, out, options, key=key, as_child=self.as_children)

    def outcomes(self, runs: Sequence[str]) -> dict[str, tuple[str, str]]:
        """What became of those runs that have ended. A crashed one has not: it is taken up again."""
        ids = {run: UUID(run.rpartition(" ")[2]) for run in runs}
        states: dict[UUID, State[Any] | None] = {}
        with _asking(), get_client(sync_client=True) as client:
            for start in range(0, len(runs), _AT_ONCE):
                wanted = [ids[run] for run in runs[start : start + _AT_ONCE]]
                chosen = FlowRunFilter(id=FlowRunFilterId(any_=wanted))
                states |= {r.id: r.state for r in client.read_flow_runs(flow_run_filter=chosen)}
        found = {}
        for run, number in ids.items():
            state = states.get(number)
            if number not in states:
                found[run] = (LOST, "")
            elif state is not None and state.is_completed():
                found[run] = (DONE, "")
            elif state is not None and (state.is_failed() or state.is_cancelled()):
                found[run] = (FAILED, state.message or str(state.name))
        return found


@contextmanager
def _asking() -> Iterator[None]:
    """Errors of the server as UserError: UnreachableError for one that is down or busy."""
    from httpx import HTTPError, HTTPStatusError
    from prefect.settings import PREFECT_API_URL

    if not (url := PREFECT_API_URL.value()):
        raise UserError("no server to submit to: set PREFECT_API_URL, which `invid serve` tells")
    try:
        yield
    except (HTTPError, RuntimeError) as error:
        status = error.response.status_code if isinstance(error, HTTPStatusError) else 500
        if status == 401:
            raise UserError(f"{url} has a password: set PREFECT_API_AUTH_STRING=user:password") from None
        if status < 500 and status not in _PASSING:
            raise UserError(f"{url} refuses this: {error}") from None
        raise UnreachableError(f"{url} does not answer ({error}); is the server up?") from None


def submit_request(
    deployment: str,
    clip: Path,
    out: Path,
    options: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
    key: str | None = None,
    as_child: bool = False,
) -> str:
    """Submit a clip to a deployment; returns the run's name and id.

    options: words of `process-video`. settings: its options as a mapping, which count more. key: two calls
    with one key are one run. as_child: of the run that calls this. Raises UserError where there is no server,
    or no such deployment.
    """
    parameters: dict[str, Any] = {"video": str(clip), "out": str(out)}
    parameters |= {"options": list(options)} if options else {}
    parameters |= {"settings": dict(settings)} if settings else {}
    name = name_of(clip.name, options, settings)
    return _submit(deployment, parameters, name, clip.name, idempotency_key=key, as_subflow=as_child)


def submit_folder(folder: Path, out: Path, settings: Mapping[str, Any], again: bool, deployment: str) -> str:
    """Submit a folder of clips; returns the name and id of its run. Raises UserError as submit_request does.

    again: also try again what failed before. deployment: that of its clips.
    """
    parameters: dict[str, Any] = {"folder": str(folder), "out": str(out), "settings": dict(settings)}
    parameters |= {"again": again, "deployment": deployment}
    return _submit(FOLDERS, parameters, name_of(f"{folder.name}/", (), settings), folder.name)


def _submit(deployment: str, parameters: dict[str, Any], name: str, tag: str, **how: Any) -> str:
    with _asking():
        try:
            run: Any = run_deployment(
                deployment,
                parameters=parameters,
                timeout=0,
                flow_run_name=name,
                tags=[tag],
                **{"as_subflow": False, **how},
            )
        except ObjectNotFound:
            known = "`prefect deployment ls` shows them"
            raise UserError(f"there is no deployment {deployment}; {known}") from None
    return f"{run.name}, run {run.id}"


def progress_of(run: str) -> str:
    """What the bar of a run says now, and nothing where it has none. run: as submit_folder returns it."""
    chosen = ArtifactFilter(
        flow_run_id=ArtifactFilterFlowRunId(any_=[UUID(run.rpartition(" ")[2])]),
        key=ArtifactFilterKey(any_=["progress"]),
    )
    with _asking(), get_client(sync_client=True) as client:
        # What is not given is sent as null, which the server refuses.
        newest = ArtifactSort.UPDATED_DESC
        found = client.read_artifacts(artifact_filter=chosen, sort=newest, limit=1, offset=0)
    return str(found[0].description) if found else ""


def name_of(clip: str, options: Sequence[str], settings: Mapping[str, Any] | None = None) -> str:
    """A run's name: that of the clip or the folder, and what is done to it."""
    asked = settings or {}
    words = [str(word) for word in options]
    edits = [word for before, word in zip(["", *words], words, strict=False) if before == "--edit"]
    edits += [word.removeprefix("--edit=") for word in words if word.startswith("--edit=")]
    listed = asked.get("edit") or []
    edits += map(str, listed if isinstance(listed, list) else [listed])
    edits += ["remove-occluder"] if "--remove-occluder" in words or asked.get("remove_occluder") else []
    # An edit that went through a mapping has its strength as a float.
    return " ".join([clip, *(re.sub(r"(=-?\d+)\.0(?=$|@)", r"\1", edit) for edit in edits)])
