"""Jobs side by side share the cores: what `watch`, `serve` and `bench` give to their child processes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from flows import serve
from flows.serve import Service
from inverters import threads
from pipeline.commands import bench
from pipeline.watch import local_jobs
from tests.pipeline.studio import Studio

WORKER = """
import json, os, sys, time
from pathlib import Path
words = sys.argv[sys.argv.index("process") + 1:]
out = Path(words[words.index("--out") + 1])
out.mkdir(parents=True, exist_ok=True)
(out / "threads").write_text(os.environ.get("OMP_NUM_THREADS", "none"))
(out / "manifest.json").write_text(json.dumps({"input": {"content_hash": ""}}))
"""


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "cores", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


@pytest.mark.parametrize(("jobs", "users", "told"), [(1, "", "none"), (3, "", "2"), (3, "5", "5")])
def test_a_watched_clips_job_gets_its_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jobs: int, users: str, told: str
) -> None:
    studio = Studio(tmp_path, monkeypatch)
    worker = tmp_path / "sharing.py"
    worker.write_text(WORKER)
    monkeypatch.setattr(local_jobs, "COMMAND", [sys.executable, str(worker)])
    if users:
        monkeypatch.setenv("OMP_NUM_THREADS", users)
    studio.put("a.mp4")
    studio.put("b.mp4", b"b")
    studio.watcher(jobs=jobs).run_once()
    assert [(studio.out / name / "threads").read_text() for name in "ab"] == [told, told]


@pytest.mark.parametrize(("users", "told"), [("", "4"), ("5", "5")])
def test_workers_of_the_service_share_the_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, users: str, told: str
) -> None:
    if users:
        monkeypatch.setenv("OMP_NUM_THREADS", users)
    service = Service("127.0.0.1", 1, tmp_path / "home", tmp_path / "logs", api="http://nowhere")
    monkeypatch.setattr(service, "_await_server", lambda: None)
    monkeypatch.setattr(service, "_set_up", lambda: None)
    monkeypatch.setattr(service, "_launch", lambda part: None)
    monkeypatch.setattr(serve.Sweep, "look", lambda sweep, starting: None)
    service.start([{"CUDA_VISIBLE_DEVICES": "0"}, {"CUDA_VISIBLE_DEVICES": "1"}])
    first, second, watching = service.parts
    assert [part.environment["CUDA_VISIBLE_DEVICES"] for part in (first, second)] == ["0", "1"]
    assert first.environment["OMP_NUM_THREADS"] == second.environment["OMP_NUM_THREADS"] == told
    assert watching.environment.get("OMP_NUM_THREADS", "") == users


def test_jobs_of_a_benchmark_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int | None] = []
    monkeypatch.setattr(bench, "_run", lambda found, as_json: seen.append(found.conditions.threads) or 0)
    bench.run("fidelity", methods="w", jobs=1)
    bench.run("fidelity", methods="w", jobs=3)
    bench.run("fidelity", methods="w", quick=True)
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    bench.run("fidelity", methods="w", jobs=3)
    assert seen == [None, 2, 2, None]
