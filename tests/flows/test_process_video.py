"""The flow runs the very stages of the command line, and the command line knows nothing of Prefect."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.pipeline.fakes import install, write_clip

ROOT = Path(__file__).parents[2]


def test_the_command_line_does_not_import_prefect_nor_its_help_torch() -> None:
    code = """
import sys, pipeline.cli
assert not {'torch', 'numpy', 'prefect', 'av', 'zarr'} & set(sys.modules), 'at import'
import pipeline.job, pipeline.validate, pipeline.doctor
assert 'prefect' not in sys.modules, 'for a job'
"""
    subprocess.run(
        [sys.executable, "-c", code], check=True, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )


def test_the_deployment_points_at_the_flow(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    (deployment,) = spec["deployments"]
    path, _, name = deployment["entrypoint"].partition(":")
    assert (ROOT / path).is_file()
    module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
    assert getattr(module, name).name == "process-video"
    assert spec["build"] is None and spec["push"] is None
    from prefect.utilities.templating import apply_values

    monkeypatch.setenv("INVID_HOME", "/clone")
    (step,) = apply_values(spec["pull"], {})
    assert step["prefect.deployments.steps.set_working_directory"] == {"directory": "/clone"}


@pytest.mark.slow
def test_the_flow_gives_what_the_command_line_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect.testing.utilities import prefect_test_harness

    from flows.process_video import process_video
    from pipeline.job import STAGES, run_job
    from pipeline.settings import Settings

    fakes = install(monkeypatch)
    clip = write_clip(tmp_path / "clip.mp4")
    with prefect_test_harness(server_startup_timeout=300):
        found = process_video(clip, tmp_path / "flow", tmp_path / "cache", ["--edit", "smile=1.5", "--crops"])
    assert [stage["name"] for stage in found["stages"]] == list(STAGES)
    assert not found["stages"][1]["cached"] and (tmp_path / "flow" / "edited.mp4").is_file()
    calls = dict(fakes.calls)
    from pipeline.cli import process_arguments, settings_from

    settings: Settings = settings_from(
        process_arguments().parse_args([str(clip), "--edit", "smile=1.5", "--crops"])
    )
    again = run_job(clip, tmp_path / "line", tmp_path / "cache", settings)
    assert dict(fakes.calls) == calls, "the command line computed again what the flow had cached"
    assert again["arrays"] == found["arrays"]
