"""The flow `train-encoder`: the command of the same name, as a run."""

from __future__ import annotations

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed


@flow(name="train-encoder", persist_result=False)
def train_encoder(name: str = "e4e-mask", options: list[str] | None = None) -> State[None]:
    """Train an encoder; `options` are those of `invid train-encoder`. Goes on where it was."""
    from pipeline.commands.__main__ import main

    code = main(["train-encoder", name, *(options or [])])
    return Completed(message="trained") if code == 0 else Failed(message=f"exit code {code}; see the log")
