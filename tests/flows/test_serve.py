"""`invid serve`, for real: a server, a worker, runs that finish, fail, are killed and are taken up again."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.flows.served import ENGINE, SAMPLE, SERVER, WORKER, Served

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


SHORT = ("--max-frames=2", "--steps=4", "--finetune-steps=2")


def test_a_run_does_what_the_command_does_and_shows_it(served: Served) -> None:
    run = served.submit("first", *SHORT, "--edit=smile=1")
    found = served.finished(run)
    assert found["name"] == "mask.mp4 smile=1"
    assert found["type"] == "COMPLETED", found["message"]
    manifest = json.loads((served.folder / "first/manifest.json").read_text())
    assert manifest["outputs"]["edited"] == "edited.mp4" and (served.folder / "first/edited.mp4").is_file()
    artifacts = served.post("artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [found["id"]]}}})
    data = " ".join(str(a["data"]) for a in artifacts)
    assert "data:image/jpeg;base64," in data and "report.html" in data and "psnr" in data
    assert "mask.mp4" in found["tags"]


def test_bad_input_fails_once_with_a_reason_in_one_line(served: Served, tmp_path: Path) -> None:
    bad, out, clip = tmp_path / "bad.mp4", str(tmp_path / "out"), str(SAMPLE)
    bad.write_text("not a video")
    cases = [
        ({"video": str(bad), "out": out}, "bad.mp4"),
        ({"video": "samples/mask.mp4", "out": out}, "give an absolute path"),
        ({"video": clip, "out": "results"}, "give an absolute path"),
        ({"video": clip, "out": out, "options": ["--smoothe", "causal"]}, "--smoothe"),
        ({"video": clip, "out": out, "options": ["--settings", str(bad)]}, "--settings"),
        ({"video": clip, "out": out, "cache": "s3://key:secret@bucket/x"}, "leave the password out"),
    ]
    runs = [served.run_of("process-video", parameters) for parameters, _ in cases]
    for run, (_, words) in zip(runs, cases, strict=True):
        found = served.finished(run)
        assert found["type"] == "FAILED" and words in found["message"], found["message"]
        assert "\n" not in found["message"] and "secret" not in found["message"]
    time.sleep(30)
    assert {served.state(run)["run_count"] for run in runs} == {1}
    assert not (served.folder / "results/mask").exists()


def test_a_killed_run_is_taken_up_again(served: Served) -> None:
    run = served.submit("killed", "--max-frames=2", "--steps=200", "--finetune-steps=2", "--edit=age=1")
    served.wait_for(served.in_stage(run, "invert"), 120, "inversion")
    assert served.kill(*ENGINE, run=served.state(run)["id"]) == 1
    found = served.finished(run)
    assert found["type"] == "COMPLETED", found["message"]
    assert found["run_count"] == 2
    names = served.states(run)
    assert names.index("Crashed") < names.index("AwaitingRetry")


def test_a_machine_that_dies_is_noticed_and_its_run_taken_up(served: Served) -> None:
    run = served.submit(
        "machine", "--max-frames=2", "--steps=200", "--finetune-steps=2", "--edit=age=-1", "--seed=2"
    )
    served.wait_for(served.in_stage(run, "invert"), 120, "inversion")
    began = time.monotonic()
    assert served.kill(WORKER) + served.kill(*ENGINE, run=served.state(run)["id"]) >= 2
    served.wait_for(lambda: served.state(run)["run_count"] == 2, 170, "second life")
    assert time.monotonic() - began < 170
    assert served.finished(run)["type"] == "COMPLETED"


def test_the_server_is_started_again_and_runs_go_on(served: Served) -> None:
    run = served.submit(
        "restart", "--max-frames=2", "--steps=200", "--finetune-steps=2", "--edit=beard=1", "--seed=3"
    )
    served.wait_for(served.in_stage(run, "invert"), 120, "inversion")
    assert served.kill(SERVER)
    served.wait_for(lambda: not served.answers(), 20, "end of the server")
    served.wait_for(served.answers, 120, "server")
    assert served.finished(run)["type"] == "COMPLETED"
