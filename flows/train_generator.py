"""The flow `train-generator`: the command of the same name, as a run."""

from __future__ import annotations

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from flows.roots import refuse_where_fenced
from pipeline.errors import UserError


@flow(name="train-generator", persist_result=False)
def train_generator(options: list[str] | None = None) -> State[None]:
    """Train the bundled generator; `options` are those of `invid train-generator`. Goes on where it was."""
    from pipeline.commands.__main__ import main

    try:
        refuse_where_fenced("train-generator")
    except UserError as error:
        return Failed(message=str(error))
    code = main(["train-generator", *(options or [])])
    return Completed(message="trained") if code == 0 else Failed(message=f"exit code {code}; see the log")
