"""A folder's run follows its clips to their end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from flows import process_folder as module
from flows.artifacts import Bar, Table
from pipeline.watch.ledger import DONE, LOST
from pipeline.watch.watcher import Watcher
from tests.pipeline.fakes import write_clip


class Forgetful:
    """A server whose database is deleted once."""

    def __init__(self) -> None:
        self.submitted: list[str] = []
        self.deleted = False

    def submit(self, clip: Path, out: Path, options: Sequence[str], key: str) -> str:
        self.submitted.append(clip.name)
        return f"run {len(self.submitted)}"

    def outcomes(self, runs: Sequence[str]) -> dict[str, tuple[str, str]]:
        return {run: (LOST if run == "run 1" else DONE, "") for run in runs if self.deleted}


def test_a_clip_whose_run_is_lost_is_submitted_again_and_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []
    monkeypatch.setattr(Bar, "set", lambda self, share, text: shown.append(f"{share:g}"))
    monkeypatch.setattr(Table, "set", lambda self, rows, text: shown.append(text))
    monkeypatch.setattr(module, "POLL", 0.0)
    folder, deployment = tmp_path / "in", Forgetful()
    folder.mkdir()
    write_clip(folder / "a.mp4")
    watcher = Watcher(folder, tmp_path / "out", [], 0.0, 1, lambda line: None, deployment, 0)
    watcher.run_once()
    assert deployment.submitted == ["a.mp4"]
    deployment.deleted = True
    state = module.followed(watcher, [], "in", wait=True)
    assert state.is_completed() and state.message == "1 done", state
    assert deployment.submitted == ["a.mp4", "a.mp4"] and shown[-1] == "1"
