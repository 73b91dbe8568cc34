"""The flow `bench`: one of the benchmarks, as a run on the machine that is to be measured."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from flows.roots import refuse_where_fenced
from pipeline.errors import UserError

ROOT = Path(__file__).resolve().parent.parent


@flow(name="bench", flow_run_name="{name}", persist_result=False)
def bench(name: str, options: list[str] | None = None) -> State[str]:
    """`python -m benchmarks.NAME OPTIONS`; what it prints is the run's result."""
    known = sorted(p.stem for p in (ROOT / "benchmarks").glob("*.py") if not p.stem.startswith("_"))
    if not re.fullmatch(r"\w+", name) or name not in known:
        return Failed(message=f"unknown benchmark '{name}'; known: {', '.join(known)}")
    try:
        refuse_where_fenced("bench")
    except UserError as error:
        return Failed(message=str(error))
    command = [sys.executable, "-m", f"benchmarks.{name}", *(options or [])]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    get_run_logger().info("%s", done.stdout)
    if done.returncode:
        return Failed(message=f"exit code {done.returncode}: {done.stderr[-500:]}")
    return Completed(data=done.stdout)
