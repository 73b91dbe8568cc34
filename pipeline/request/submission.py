"""`process-video --submit` and `invid process-folder`: hand requests to Prefect, whose workers run them."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.errors import UserError
from pipeline.request.options import to_mapping
from pipeline.request.paths import with_paths
from pipeline.request.settings import Request
from storage.errors import without_passwords


def portable(request: Request) -> dict[str, Any]:
    """The options of a request as a mapping, without those of the call itself, and with absolute paths.

    Raises UserError for a password in the cache's URL.
    """
    if request.cache is not None:
        check_no_password(str(request.cache))
    absolute = with_paths(request, Path.absolute)
    return to_mapping(
        replace(absolute, out=None, json=False, quiet=False, submit=None, debug=False)  # type: ignore[arg-type]
    )


def check_no_password(url: str) -> None:
    """Raise UserError for a cache URL with a password: what is handed on lies in databases and records."""
    if without_passwords(url) != url:
        raise UserError(
            f"--cache {without_passwords(url)}: the URL is kept in records that others read; leave the "
            "password out and set it where the job runs, as FSSPEC_SFTP_PASSWORD or in the way of AWS tools"
        )


def submit(request: Request) -> str:
    """Hand the request to the deployment that `--submit` names; returns the run's name and id.

    Raises UserError where there is no server or no such deployment.
    """
    clip, out = request.video.absolute(), request.out.absolute()
    return str(_flows().submit_request(request.submit, clip, out, settings=portable(request)))


def submit_folder(request: Request, folder: Path, out: Path, again: bool, deployment: str) -> str:
    """Hand a folder of clips over, with the options of a request; returns its run's name and id.

    again: also try again what failed before. deployment: that of the clips. Raises UserError as submit does.
    """
    settings = portable(request)
    return str(_flows().submit_folder(folder.absolute(), out.absolute(), settings, again, deployment))


def folder_progress(run: str) -> tuple[str, str, str]:
    """What a folder's run says of its progress, the state that it has ended in, if so, and the reason."""
    flows = _flows()
    state, reason = flows.PrefectDeployment(flows.FOLDERS).outcomes([run]).get(run, ("", ""))
    return str(flows.progress_of(run)), state, reason


def deployment_of(name: str) -> Any:
    """The deployment of this name, a `pipeline.watch.submissions.Deployment`."""
    return _flows().PrefectDeployment(name)


def _flows() -> Any:
    """Imported by name: flows stand above the pipeline, and Prefect is loaded for this alone."""
    return importlib.import_module("flows.submit")
