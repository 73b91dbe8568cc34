"""The flow `bench`: one of the benchmarks, as a run on the machine that is to be measured."""

from __future__ import annotations

import sys
from typing import Annotated

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed
from pydantic import WithJsonSchema

from flows.child import ROOT, run_logged
from flows.roots import refuse_where_fenced
from flows.run_page import begin_run, failed
from pipeline.errors import UserError

NAMES = sorted(
    p.stem for p in (ROOT / "benchmarks").glob("*.py") if '__name__ == "__main__"' in p.read_text()
)


def run_name() -> str:
    """The benchmark and its options."""
    return " ".join(["bench", str(flow_run.parameters["name"]), *(flow_run.parameters.get("options") or [])])


@flow(name="bench", flow_run_name=run_name, persist_result=False)
def bench(
    name: Annotated[str, WithJsonSchema({"type": "string", "enum": NAMES})],
    options: list[str] | None = None,
) -> State[str]:
    """Run a benchmark: `python -m benchmarks.NAME OPTIONS`. What it prints is the run's log and result.

    Args:
        name: Which one.
        options: Words of its command line.
    """
    begin_run("bench", name)
    if name not in NAMES:
        return failed(f"unknown benchmark '{name}'; known: {', '.join(NAMES)}")
    try:
        refuse_where_fenced("bench")
    except UserError as error:
        return failed(error)
    command = [sys.executable, "-m", f"benchmarks.{name}", *(options or [])]
    ended = run_logged(command, get_run_logger().info)
    if ended.code:
        return failed(f"exit code {ended.code}: {ended.reason}")
    return Completed(data=ended.out)
