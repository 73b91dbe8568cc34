"""The flow runs the very stages of the command line, and the command line knows nothing of Prefect."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from flows.notifications import FLOWS
from flows.queues import QUEUES
from pipeline.stages import invert
from tests.pipeline.fakes import install, write_clip

ROOT = Path(__file__).parents[2]


def test_the_command_line_does_not_import_prefect_nor_its_help_torch() -> None:
    code = """
import sys, pipeline.commands.__main__
assert not {'torch', 'numpy', 'prefect', 'av', 'zarr'} & set(sys.modules), 'at import'
import pipeline.job.walker, pipeline.request.checks, pipeline.commands.doctor
assert 'prefect' not in sys.modules, 'for a job'
"""
    subprocess.run(
        [sys.executable, "-c", code], check=True, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )


def test_the_deployments_point_at_the_flows(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    found = set()
    for deployment in spec["deployments"]:
        path, _, name = deployment["entrypoint"].partition(":")
        assert (ROOT / path).is_file()
        module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
        found.add(f"{getattr(module, name).name}/{deployment['name']}")
        assert deployment["work_pool"]["name"] in ("invid", "invid-watch")
        assert deployment["work_pool"].get("work_queue_name", "default") in QUEUES
    flows = ("process-video", "process-folder", "watch-folder", "train-generator", "train-encoder", "bench")
    assert found == {f"{flow}/default" for flow in flows} | {
        "process-video/urgent",
        "process-video/background",
    }
    assert {flow.partition("/")[0] for flow in found} == set(FLOWS)
    assert spec["build"] is None and spec["push"] is None
    from prefect.utilities.templating import apply_values

    monkeypatch.setenv("INVID_HOME", "/clone")
    (step,) = apply_values(spec["pull"], {})
    assert step["prefect.deployments.steps.set_working_directory"] == {"directory": "/clone"}


def test_runs_have_names_that_people_recognise(monkeypatch: pytest.MonkeyPatch) -> None:
    from flows import process_video as module

    words = ["--edit", "smile=1.5", "--edit=age=-1", "--remove-occluder", "--preset", "fast"]
    asked = SimpleNamespace(parameters={"video": "/clips/Anna 3.mp4", "options": words})
    monkeypatch.setattr(module, "flow_run", asked)
    assert module.run_name() == "Anna 3.mp4 smile=1.5 age=-1 remove-occluder"
    asked.parameters = {"video": "a.mp4", "settings": {"edit": ["smile=1.5"], "remove_occluder": True}}
    assert module.run_name() == "a.mp4 smile=1.5 remove-occluder"
    asked.parameters = {"video": "a.mp4", "options": None}
    assert module.run_name() == "a.mp4"
    asked.parameters = {"video": "a.mp4", "settings": {"edit": ["smile=1.0", "age=-2.0@0-1s", "beard=0.05"]}}
    assert module.run_name() == "a.mp4 smile=1 age=-2@0-1s beard=0.05"


@pytest.mark.slow
def test_the_flow_gives_what_the_command_line_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: None
) -> None:
    from flows.process_video import process_video
    from pipeline.job.walker import run_job
    from pipeline.request.options import parse
    from pipeline.stages.plan import plan_of

    fakes = install(monkeypatch)
    clip, words = write_clip(tmp_path / "clip.mp4"), ["--edit", "smile=1.5", "--crops"]
    state = process_video(clip, tmp_path / "flow", cache=str(tmp_path / "cache"), options=words)
    found = state if isinstance(state, dict) else state.data
    settings = parse([str(clip), *words]).settings
    assert [stage["name"] for stage in found["stages"]] == list(plan_of(settings).kinds)
    assert not found["stages"][1]["cached"] and (tmp_path / "flow" / "edited.mp4").is_file()
    calls = dict(fakes.calls)
    again = run_job(clip, tmp_path / "line", tmp_path / "cache", settings)
    assert dict(fakes.calls) == calls, "the command line computed again what the flow had cached"
    assert again["arrays"] == found["arrays"]
    chosen = {"edit": ["smile=1.5"], "crops": True}
    mapped = process_video(clip, tmp_path / "mapped", chosen, cache=str(tmp_path / "cache"))
    mapped = mapped if isinstance(mapped, dict) else mapped.data
    assert mapped["request"] == found["request"] and dict(fakes.calls) == calls
    wrong = process_video(clip, tmp_path / "wrong", settings={"edits": []}, return_state=True)
    assert wrong.is_failed() and "unknown option 'edits'; did you mean 'edit'?" in wrong.message


def steps_without_end(*_: object, **__: object) -> None:
    """Short calls, as an optimisation makes: Prefect's exception arrives between them."""
    for _step in range(5000):
        time.sleep(0.1)


@pytest.mark.slow
def test_a_stage_that_takes_too_long_fails_its_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: None
) -> None:
    from flows.process_video import process_video

    install(monkeypatch)
    monkeypatch.setattr(invert, "invert", steps_without_end)
    clip, began = write_clip(tmp_path / "clip.mp4"), time.monotonic()
    how = {"cache": str(tmp_path / "cache"), "options": ["--start=none"], "return_state": True}
    state = process_video(clip, tmp_path / "out", timeouts={"invert": 2}, **how)
    assert state.is_failed() and state.message == "invert took longer than 2 s", state
    assert time.monotonic() - began < 400 and not (tmp_path / "out").exists()
    wrong = process_video(clip, tmp_path / "out", timeouts={"inverting": 2}, return_state=True)
    assert wrong.is_failed() and "no stage is called inverting" in wrong.message
