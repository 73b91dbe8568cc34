"""What a run's page shows, from a run in this process against a server: name, tags, artifacts, reasons."""

from __future__ import annotations

import base64
import io
import logging
import re
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image
from prefect.exceptions import FailedRun

from flows.artifacts import Bar, LoggedProgress, report_text, side_by_side
from flows.notifications import automation
from flows.run_page import PlainReasons, escaped, link_to
from pipeline.errors import NoFaceError
from pipeline.job.forecast import StageForecast
from pipeline.stages import track
from tests.pipeline.fakes import install, write_clip


def artifacts_of(run: Any) -> dict[str, dict[str, Any]]:
    """By key, of one run."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        body = {"artifacts": {"flow_run_id": {"any_": [str(run)]}}}
        found = client.request("POST", "/artifacts/filter", json=body).json()
    assert len({one["key"] for one in found}) == len(found), "two artifacts of one key"
    return {one["key"]: one for one in found}


def frame_of(path: Path, index: int) -> np.ndarray:
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return np.asarray(frames[index])


@pytest.mark.slow
def test_the_page_shows_the_delivered_picture_figures_and_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: None
) -> None:
    from flows.process_video import process_video

    install(monkeypatch)
    monkeypatch.setenv("INVID_RESULTS_URL", "http://127.0.0.1:4201")
    clip, out = write_clip(tmp_path / "Anna 3.mp4"), tmp_path / "out"
    asked = {"edit": ["smile=1.5"], "steps": None}
    state = process_video(clip, out, asked, cache=str(tmp_path / "cache"), return_state=True)
    assert state.is_completed(), state
    run = state.state_details.flow_run_id
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        found = client.read_flow_run(run)
    assert found.name == "Anna 3.mp4 smile=1.5" and "Anna 3.mp4" in found.tags
    shown = artifacts_of(run)
    assert shown.keys() == {"progress", "before-and-after", "quality", "time", "report"}
    assert shown["progress"]["data"] == 100.0
    assert {"psnr", "frames edited"} <= set(re.findall(r'"figure": "([^"]+)"', shown["quality"]["data"]))
    assert "psnr" not in shown["time"]["data"] and '"stage": "invert"' in shown["time"]["data"]
    assert f"(http://127.0.0.1:4201/runs/{run}/report.html)" in shown["report"]["data"]
    index = int(re.search(r"frame (\d+)", shown["before-and-after"]["description"])[1])  # type: ignore[index]
    data = re.search(r"base64,([^)]+)\)", shown["before-and-after"]["data"])[1]  # type: ignore[index]
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))), np.float64)
    wanted = side_by_side(frame_of(clip, index), frame_of(out / "edited.mp4", index))
    assert picture.shape == wanted.shape and np.abs(picture - wanted).mean() < 6
    again = process_video(clip, out, asked, cache=str(tmp_path / "cache"), return_state=True)
    assert again.message == "was done already"
    assert artifacts_of(again.state_details.flow_run_id).keys() == {"quality", "time", "report"}


@pytest.mark.slow
def test_bad_input_has_its_reason_in_the_message_and_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: None, caplog: pytest.LogCaptureFixture
) -> None:
    from flows.process_video import process_video

    install(monkeypatch)

    def no_face(*_: object, **__: object) -> None:
        raise NoFaceError("a.mp4: no face was found\nin any frame")

    monkeypatch.setattr(track, "track", no_face)
    for name in ("prefect.flow_runs", "prefect.task_runs"):
        monkeypatch.setattr(logging.getLogger(name), "handlers", [caplog.handler])
    clip, out = write_clip(tmp_path / "a.mp4"), tmp_path / "out"
    usual = {"video": clip, "out": out, "cache": str(tmp_path / "cache")}
    wrong: list[tuple[dict[str, Any], str]] = [
        ({}, "a.mp4: no face was found in any frame"),
        ({"out": Path("out")}, "--out: 'out' is relative"),
        ({"video": Path("a.mp4")}, "video: 'a.mp4' is relative"),
        ({"settings": {"edits": []}}, "settings: unknown option 'edits'; did you mean 'edit'?"),
        ({"settings": {"directions": ["d.st"]}}, "--directions: 'd.st' is relative"),
        ({"cache": "cache"}, "--cache: 'cache' is relative"),
        ({"video": tmp_path / "none.mp4"}, "none.mp4"),
    ]
    for asked, reason in wrong:
        state = process_video(**usual | asked, return_state=True)
        assert state.is_failed() and reason in state.message and "\n" not in state.message, state
    assert len(caplog.records) > len(wrong) and not any(record.exc_info for record in caplog.records)
    assert not out.exists()


def test_bad_input_of_other_flows_has_its_reason_in_one_line(tmp_path: Path) -> None:
    from prefect.logging import disable_run_logger

    from flows.bench import bench
    from flows.process_folder import process_folder
    from flows.train_generator import train_generator
    from flows.watch_folder import watch_folder

    usual = {"folder": tmp_path / "in\nthere", "out": tmp_path / "out"}
    of_folders: list[tuple[dict[str, Any], str]] = [
        ({}, "in there: there is no such folder"),
        ({"folder": Path("in")}, "folder: 'in' is relative"),
        ({"out": Path("out")}, "out: 'out' is relative"),
        ({"settings": {"edits": []}}, "settings: unknown option 'edits'; did you mean 'edit'?"),
        ({"options": ["--smoothe", "causal"]}, "--smoothe"),
        ({"options": ["--cache", "s3://key:secret@bucket/x"]}, "leave the password out"),
    ]
    folders = (process_folder, watch_folder)
    wrong: list[tuple[Any, dict[str, Any], str]] = [
        *((flow, usual | asked, reason) for flow in folders for asked, reason in of_folders),
        (bench, {"name": "no\nsuch"}, "unknown benchmark 'no such'; known: "),
        (train_generator, {"settings": {"minute": 1}}, "unknown option 'minute'; did you mean 'minutes'?"),
    ]
    for flow, asked, reason in wrong:
        with disable_run_logger():
            state = flow.fn(**asked)
        assert state.is_failed() and reason in state.message and "\n" not in state.message, state
        assert "secret" not in state.message
    assert list(tmp_path.iterdir()) == []


def test_a_traceback_is_kept_for_what_is_no_error_of_the_user() -> None:
    for error, kept, traced in (
        (NoFaceError("no face"), True, False),
        (FailedRun("a.mp4: no face"), False, True),
        (ValueError("a fault of ours"), True, True),
    ):
        record = logging.LogRecord("x", 40, "x.py", 1, "failed", (), (type(error), error, None))
        assert PlainReasons().filter(record) == kept and bool(record.exc_info) == traced


def test_the_bar_grows_with_the_seconds_that_stages_take(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[tuple[float, str]] = []
    monkeypatch.setattr(Bar, "set", lambda self, share, text: shown.append((share, text)))
    monkeypatch.setattr("flows.artifacts.EVERY", 0.0)
    progress = LoggedProgress(logging.getLogger("test"), "a.mp4")
    costs = {"decode": 1.0, "invert": 8.0, "encode/edited.mp4": 0.5, "encode/comparison.mp4": 0.5}
    stages = [StageForecast(name, "", False, seconds, None, 1) for name, seconds in costs.items()]
    kinds = ("decode", "invert", "encode")
    progress.expect(kinds, stages)
    for kind in kinds:
        progress.start(kind)
        progress.update(1, 2, {}, "frames")
        progress.finish(kind, 1.0, False)
    assert [round(share, 3) for share, _ in shown] == [0.0, 0.05, 0.1, 0.5, 0.9, 0.95, 1.0]
    assert shown[3][1].startswith("a.mp4: invert, stage 2 of 3: 1 of 2 frames")


def test_names_do_not_become_markup() -> None:
    assert escaped("a|b [x](y) <i>.mp4") == r"a\|b \[x\]\(y\) \<i\>.mp4"
    text = report_text(
        Path("/out"), {"report": "report.html", "edited": "edited (1).mp4"}, "http://h:1/", "7"
    )
    assert "(http://h:1/runs/7/edited%20%281%29.mp4)" in text
    assert report_text(Path("/out"), {"report": "report.html"}, None, "7") == "- report: `/out/report.html`"


def test_links_open_the_pages_that_the_server_opens_with() -> None:
    from prefect.settings import PREFECT_API_URL, PREFECT_UI_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: "http://h:1/api"}):
        assert link_to("7", "a") == "[a](http://h:1/v2/runs/flow-run/7)"
        (action,) = automation("b")["actions"]
        assert action["body"].endswith("\nhttp://h:1/v2/runs/flow-run/{{ flow_run.id }}")
    with temporary_settings({PREFECT_API_URL: "http://h:1/api", PREFECT_UI_URL: "https://pages.example"}):
        assert link_to("7", "a") == "[a](https://pages.example/runs/flow-run/7)"
