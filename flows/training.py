"""What the flows of training commands share: the command as a child, with its lines in the run's log."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from prefect import get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows.child import run_logged
from flows.parameters import given
from flows.roots import refuse_where_fenced
from flows.run_page import begin_run, failed
from pipeline.errors import UserError
from pipeline.request.fields import Field
from pipeline.request.options import known_key, to_words


def trained(
    command: Sequence[str],
    fields: Sequence[Field],
    settings: dict[str, Any] | None,
    options: Sequence[str] | None,
) -> State[None]:
    """Run a training command of `invid`; Failed, with its reason, for bad input and where it fails.

    command: its name and positional words. fields: its options, which `settings` are about; these count more
    than the words in `options`.
    """
    begin_run("training")
    try:
        refuse_where_fenced(command[0])
        known = [field.key for field in fields]
        asked = {known_key(name, known): value for name, value in given(settings).items()}
    except UserError as error:
        return failed(error)
    words = [*command, *(options or []), *to_words(asked, fields)]
    ended = run_logged([sys.executable, "-m", "pipeline.commands", *words], get_run_logger().info)
    return Completed(message="trained") if ended.code == 0 else failed(ended.reason)
