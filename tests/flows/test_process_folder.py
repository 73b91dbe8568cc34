"""A folder's run follows its clips to their end, also when the server is away for a while."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from flows import process_folder as module
from flows.artifacts import Bar, Table
from pipeline.errors import UserError
from pipeline.watch.ledger import DONE, LOST, SUBMITTED
from pipeline.watch.submissions import UnreachableError
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


class Away:
    """A server that answers nothing at some of the times that it is asked, and refuses clips by name."""

    def __init__(self, away: Sequence[int], refused: str = "") -> None:
        self.away, self.refused = away, refused
        self.asked = 0
        self.submitted: list[str] = []

    def _answer(self) -> None:
        self.asked += 1
        if self.asked in self.away:
            raise UnreachableError("nobody answers")

    def submit(self, clip: Path, out: Path, options: Sequence[str], key: str) -> str:
        self._answer()
        if clip.name == self.refused:
            raise UserError("there is no such deployment")
        self.submitted.append(clip.name)
        return f"run {len(self.submitted)}"

    def outcomes(self, runs: Sequence[str]) -> dict[str, tuple[str, str]]:
        self._answer()
        lost = self.submitted.count("a.mp4") == 1
        return {run: (LOST if lost and run == "run 1" else DONE, "") for run in runs}


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The progress that a run shows."""
    found: list[str] = []
    monkeypatch.setattr(Bar, "set", lambda self, share, text: found.append(f"{share:g}"))
    monkeypatch.setattr(Table, "set", lambda self, rows, text: found.append(text))
    monkeypatch.setattr(module, "POLL", 0.0)
    return found


def watcher_of(tmp_path: Path, deployment: Forgetful | Away) -> Watcher:
    """A watcher of a folder with one clip."""
    folder = tmp_path / "in"
    folder.mkdir()
    write_clip(folder / "a.mp4")
    return Watcher(folder, tmp_path / "out", [], 0.0, 1, lambda line: None, deployment, 0)


def test_a_clip_whose_run_is_lost_is_submitted_again_and_waited_for(tmp_path: Path, shown: list[str]) -> None:
    deployment = Forgetful()
    watcher = watcher_of(tmp_path, deployment)
    watcher.run_once()
    assert deployment.submitted == ["a.mp4"]
    deployment.deleted = True
    state = module.followed(watcher, [], "in", wait=True)
    assert state.is_completed() and state.message == "1 done", state
    assert deployment.submitted == ["a.mp4", "a.mp4"] and shown[-1] == "1"


@pytest.mark.parametrize("away", [range(1, 4), range(2, 6), range(3, 7), range(4, 7), [1, 3, 5]])
def test_a_server_that_is_away_for_a_while_loses_no_clip(
    tmp_path: Path, shown: list[str], away: Sequence[int]
) -> None:
    deployment = Away(away)
    watcher = watcher_of(tmp_path, deployment)
    module.submit_all(watcher)
    assert [record.state for record in watcher.ledger.all()] == [SUBMITTED]
    state = module.followed(watcher, [], "in", wait=True)
    assert state.is_completed() and state.message == "1 done", state
    assert deployment.submitted == ["a.mp4", "a.mp4"] and shown[-1] == "1"


def test_what_the_server_refuses_is_not_waited_for(tmp_path: Path, shown: list[str]) -> None:
    watcher = watcher_of(tmp_path, Away([], refused="a.mp4"))
    with pytest.raises(UserError, match=r"a\.mp4 could not be submitted: there is no such deployment"):
        module.submit_all(watcher)
    with pytest.raises(UserError, match="there is no such deployment"):
        module.followed(watcher, [], "in", wait=True)


def test_a_clip_that_is_taken_away_meanwhile_is_not_waited_for(tmp_path: Path, shown: list[str]) -> None:
    watcher = watcher_of(tmp_path, Away(range(1, 9)))
    watcher.scan()
    assert watcher.waits()
    (tmp_path / "in/a.mp4").unlink()
    module.submit_all(watcher)
    assert not watcher.waits() and module.followed(watcher, [], "in", wait=True).message == "1 waiting"
