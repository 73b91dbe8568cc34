"""`invid serve`, for real: forms, folders and their clips, queues, health, reports, a webhook."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from flows.queues import QUEUES
from tests.flows.served import ROOT, SAMPLE, Served

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SETTINGS = {"max_frames": 2, "steps": 4, "finetune_steps": 2}


def create(served: Served, name: str, /, **parameters: Any) -> Any:
    """The run that was made, or the reason why there is none."""
    found = served.get(f"deployments/name/{name}")["id"]
    try:
        return served.post(f"deployments/{found}/create_flow_run", {"parameters": parameters})["id"]
    except httpx.HTTPStatusError as error:
        return error.response.json()["detail"]


def artifacts(served: Served, run: str) -> dict[str, dict[str, Any]]:
    found = served.post("artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run]}}})
    return {one["key"]: one for one in found}


def test_a_form_refuses_what_no_setting_takes(served: Served, tmp_path: Path) -> None:
    asked = {"video": str(SAMPLE), "out": str(tmp_path / "out")}
    assert "is not one of ['none'" in create(
        served, "process-video/default", **asked, settings={"smooth": "x"}
    )
    assert "'out' is a required property" in create(served, "process-video/default", video=str(SAMPLE))
    for wrong, reason in {
        "video": "give an absolute path",
        "settings": "unknown option 'edits'; did you mean 'edit'?",
    }.items():
        value: Any = "a.mp4" if wrong == "video" else {"edits": ["smile=1"]}
        run = create(served, "process-video/default", **asked | {wrong: value})
        state = served.finished(run)
        assert state["type"] == "FAILED" and reason in state["message"] and "\n" not in state["message"]
        assert state["run_count"] == 1
        logs = served.post("logs/filter", {"logs": {"flow_run_id": {"any_": [run]}}})
        assert not any("Traceback" in line["message"] for line in logs)


@pytest.fixture
def hook() -> Iterator[tuple[str, list[str]]]:
    """A webhook on the loopback, and what it was told."""
    told: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["text"])
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/hook?token=hush-hush", told
    server.shutdown()
    server.server_close()


def test_a_folder_is_the_parent_of_its_clips(
    served: Served, tmp_path: Path, hook: tuple[str, list[str]]
) -> None:
    url, told = hook
    for _ in range(2):  # a second call replaces the first
        command = [sys.executable, "-m", "flows.notifications", url]
        done = subprocess.run(command, cwd=ROOT, env=served.environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    blocks = served.post("block_documents/filter", {})
    assert "hush-hush" not in json.dumps(blocks), "the address is shown to everyone"
    folder, out = tmp_path / "clips", tmp_path / "out"
    folder.mkdir()
    shutil.copy(SAMPLE, folder / "good | one.mp4")
    (folder / "bad.mp4").write_text("no film")
    asked = {"folder": str(folder), "out": str(out), "settings": SETTINGS}
    run = create(served, "process-folder/default", **asked, deployment="process-video/urgent")
    found = served.finished(run)
    assert found["type"] == "FAILED" and found["name"] == "clips/" and "clips" in found["tags"]
    assert re.match(r"1 of 2 clips failed \(bad\.mp4: .*`again` tries them again$", found["message"])
    (child,) = served.post("flow_runs/filter", {"flow_runs": {"parent_flow_run_id": {"any_": [run]}}})
    assert child["name"] == "good | one.mp4" and {"good | one.mp4", "urgent"} <= set(child["tags"])
    assert child["work_queue_name"] == "urgent" and child["state_type"] == "COMPLETED"
    shown, pages = artifacts(served, run), served.api.removesuffix("/api") + "/v2"
    assert shown["progress"]["data"] == 100.0 and "1 failed, 1 done" in shown["clips"]["description"]
    rows = shown["clips"]["data"].splitlines()[2:]
    assert "bad.mp4" in rows[0] and f"[good \\| one.mp4]({pages}/runs/flow-run/{child['id']})" in rows[1]
    served.wait_for(lambda: told, 60, "notification")
    assert told[0].startswith("clips/ failed\n1 of 2 clips failed") and told[0].endswith(
        f"{pages}/runs/flow-run/{run}"
    )
    reports(served, child["id"])
    again(served, folder, asked)


def reports(served: Served, run: str) -> None:
    """The link in the artifact opens, and the record and the metrics know the run."""
    text = artifacts(served, run)["report"]["data"]
    (link,) = re.findall(r"\[Open the report\]\((\S+)\)", text)
    page = httpx.get(link)
    assert page.status_code == 200 and "<html" in page.text and "good | one.mp4" in page.text
    base = link.partition("/runs/")[0]
    health = httpx.get(f"{base}/health", timeout=60).json()
    assert [queue["name"] for queue in health["queues"]] == list(QUEUES)
    assert all(worker["online"] for worker in health["workers"]) and health["runs"]["COMPLETED"] >= 1
    metrics = httpx.get(f"{base}/metrics", timeout=60).text
    assert re.search(r'invid_stage_runs\{stage="invert",state="COMPLETED"\} [1-9]', metrics)
    assert httpx.get(f"{base}/health", headers={"Host": "films.example"}).status_code == 403


def again(served: Served, folder: Path, asked: dict[str, Any]) -> None:
    """What failed is tried again when it is asked for, and what is done is not."""
    (folder / "bad.mp4").unlink()
    shutil.copy(ROOT / "samples/hand.mp4", folder / "bad.mp4")
    run = create(served, "process-folder/default", **asked, again=True)
    found = served.finished(run)
    children = served.post("flow_runs/filter", {"flow_runs": {"parent_flow_run_id": {"any_": [run]}}})
    assert [child["name"] for child in children] == ["bad.mp4"]
    assert found["type"] == "COMPLETED" and "2 done" in found["message"], found["message"]


def test_the_logs_of_the_parts_carry_times(served: Served) -> None:
    logs = {path.stem: path.read_text().splitlines() for path in (served.folder / "home/logs").glob("*.log")}
    assert logs["worker-watch"] and "server" in logs
    for part, lines in logs.items():  # a server that has nothing to warn of writes nothing
        assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \| ", line) for line in lines), part
