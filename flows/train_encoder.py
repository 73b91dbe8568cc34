"""The flow `train-encoder`: the command of the same name, as a run."""

from __future__ import annotations

from typing import Annotated, Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from pydantic import WithJsonSchema

from flows.parameters import schema_of
from flows.training import trained
from pipeline.commands.train_encoder import TRAINED, run
from pipeline.request.fields import fields_of

FIELDS = [field for field in fields_of(run) if field.key != "name"]


def run_name() -> str:
    """The encoder."""
    return f"train-encoder {flow_run.parameters['name']}"


@flow(name="train-encoder", flow_run_name=run_name, persist_result=False)
def train_encoder(
    name: Annotated[str, WithJsonSchema({"type": "string", "enum": list(TRAINED)})] = "e4e-mask",
    settings: Annotated[dict[str, Any] | None, WithJsonSchema(schema_of(FIELDS))] = None,
    options: list[str] | None = None,
) -> State[None]:
    """Train an encoder for a generator, or go on with an earlier run in the same folder.

    Args:
        name: Which one.
        settings: Options of the command train-encoder; what is left empty keeps its default.
        options: For scripts: words of that command; settings count more.
    """
    return trained(["train-encoder", name], FIELDS, settings, options)
