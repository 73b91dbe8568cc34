"""Handing clips to a deployment."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefect.deployments import run_deployment

from pipeline.errors import UserError
from pipeline.watch.watcher import Submit


def submit_to(deployment: str) -> Submit:
    """Submits to `deployment`, such as process-video/default; a key used before returns the run of then."""

    def submit(clip: Path, out: Path, options: Sequence[str], key: str) -> str:
        return submit_request(deployment, clip, out, options, key)

    return submit


def submit_request(
    deployment: str, clip: Path, out: Path, options: Sequence[str], key: str | None = None
) -> str:
    """The run, as its name and id. Raises UserError where there is no server, or no such deployment."""
    from httpx import HTTPError
    from prefect.exceptions import ObjectNotFound
    from prefect.settings import PREFECT_API_URL

    if not PREFECT_API_URL.value():
        raise UserError("no server to submit to: set PREFECT_API_URL, which `invid serve` tells")
    try:
        run: Any = run_deployment(
            deployment,
            parameters={"video": str(clip), "out": str(out), "options": list(options)},
            timeout=0,
            as_subflow=False,
            idempotency_key=key,
            flow_run_name=name_of(clip, options),
            tags=[clip.name],
        )
    except ObjectNotFound:
        raise UserError(f"there is no deployment {deployment}; `prefect deployment ls` shows them") from None
    except (HTTPError, RuntimeError) as error:
        raise UserError(f"{PREFECT_API_URL.value()} does not answer ({error}); is the server up?") from None
    return f"{run.name}, run {run.id}"


def name_of(clip: Path, options: Sequence[str]) -> str:
    """What people recognise: the clip, and what is done to it."""
    words = [str(word) for word in options]
    edits = [word for before, word in zip(["", *words], words, strict=False) if before == "--edit"]
    edits += [word.removeprefix("--edit=") for word in words if word.startswith("--edit=")]
    edits += ["remove-occluder"] if "--remove-occluder" in words else []
    return " ".join([clip.name, *edits])
