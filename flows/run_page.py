"""A run's page in Prefect: its tags, links between runs, and reasons of one line, without tracebacks."""

from __future__ import annotations

import contextlib
import logging
import re
from typing import Any
from uuid import UUID

from httpx import HTTPError
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.exceptions import FailedRun
from prefect.runtime import flow_run
from prefect.settings import get_current_settings
from prefect.states import Failed
from prefect.utilities.urls import url_for

from pipeline.errors import InvidError


def begin_run(*tags: str) -> None:
    """Add tags to the current run, however it was made, and keep tracebacks of bad input out of its log.

    Prefect's own `tags` would reach the tasks of the run alone.
    """
    for name in ("prefect.flow_runs", "prefect.task_runs"):
        logger = logging.getLogger(name)
        if not any(isinstance(one, PlainReasons) for one in logger.filters):
            logger.addFilter(PlainReasons())
    if flow_run.id is None:
        return
    with contextlib.suppress(HTTPError, RuntimeError), get_client(sync_client=True) as client:
        number = UUID(flow_run.id)
        known = set(client.read_flow_run(number).tags)
        if not known.issuperset(tags):
            client.update_flow_run(number, tags=known | set(tags))


def failed(reason: Exception | str) -> State[Any]:
    """The state of a run that has failed, and is not tried again, with its reason in one line."""
    return Failed(message=" ".join(str(reason).split()))


def page_of(run: str) -> str | None:
    """The address of a run's page; None where no server is known.

    Prefect's own addresses lead to its former pages, which a server has beside those that it opens with.
    """
    settings = get_current_settings()
    url, server = url_for("flow-run", obj_id=run), (settings.api.url or "").removesuffix("/api")
    if url and url.startswith(f"{server}/runs/") and settings.server.ui.v2_enabled:
        return f"{server}/v2{url.removeprefix(server)}"
    return url


def link_to(run: str, text: str) -> str:
    """Markdown link to a run's page; the text alone where no server is known."""
    url = page_of(run)
    return f"[{text}]({url})" if url else text


def escaped(text: str) -> str:
    """Text as it is, in Markdown and in a cell of its tables."""
    return re.sub(r"([\\`*_{}\[\]<>()#+!|~])", r"\\\1", " ".join(text.split()))


class PlainReasons(logging.Filter):
    """Logs an error of ours as its one line: the traceback of bad input says nothing more."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is kept; that of an InvidError is, without its traceback.

        A flow that has returned a failed state makes Prefect's engine log a FailedRun, with a traceback
        through the engine alone. The state and its reason stand in the line before.
        """
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, InvidError):
            record.exc_info = None
        return not isinstance(error, FailedRun)
