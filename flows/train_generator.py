"""The flow `train-generator`: the command of the same name, as a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from pydantic import WithJsonSchema

from flows.parameters import given, schema_of
from flows.training import trained
from pipeline.commands.train_generator import run
from pipeline.request.fields import fields_of

FIELDS = fields_of(run)


def run_name() -> str:
    """The folder of the run, where it is not the usual one."""
    folder = given(flow_run.parameters.get("settings")).get("folder")
    return f"train-generator {Path(str(folder)).name}" if folder else "train-generator"


@flow(name="train-generator", flow_run_name=run_name, persist_result=False)
def train_generator(
    settings: Annotated[dict[str, Any] | None, WithJsonSchema(schema_of(FIELDS))] = None,
    options: list[str] | None = None,
) -> State[None]:
    """Train the bundled generator, or go on with an earlier run in the same folder.

    Args:
        settings: Options of the command train-generator; what is left empty keeps its default.
        options: For scripts: words of that command; settings count more.
    """
    return trained(["train-generator"], FIELDS, settings, options)
