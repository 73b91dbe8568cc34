"""A watcher that hands its clips over: each once, and it hears what became of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.watch.ledger import DONE, FAILED, LOST, SUBMITTED, Ledger
from tests.pipeline.studio import Studio, wait_until


@pytest.fixture
def studio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Studio:
    return Studio(tmp_path, monkeypatch)


class Others:
    """A deployment that only notes what it is handed."""

    def __init__(self) -> None:
        self.handed: dict[str, tuple[Path, Path, list[str]]] = {}
        self.ended: dict[str, tuple[str, str]] = {}
        self.down = False

    def submit(self, clip: Path, out: Path, options: Sequence[str], key: str) -> str:
        if self.down:
            raise UserError("nobody answers")
        self.handed.setdefault(key, (clip, out, list(options)))
        return f"run of {key}"

    def outcomes(self, runs: Sequence[str]) -> dict[str, tuple[str, str]]:
        if self.down:
            raise UserError("nobody answers")
        return {run: self.ended[run] for run in runs if run in self.ended}


def states(studio: Studio) -> list[str]:
    return [record.state for record in Ledger(studio.out).all()]


def test_what_is_submitted_is_submitted_once(studio: Studio) -> None:
    others = Others()
    studio.put("a.mp4")
    for _ in range(2):
        studio.watcher(["--preset=fast"], deployment=others).run_once()
    ((clip, out, options),) = others.handed.values()
    assert clip.is_file() and out == (studio.out / "a").resolve() and options == ["--preset=fast"]
    assert states(studio) == [SUBMITTED] and not studio.worked


def test_what_becomes_of_a_submitted_clip_is_noted(studio: Studio) -> None:
    others = Others()
    studio.put("a.mp4")
    studio.put("b.mp4", b"b")
    studio.watcher(deployment=others).run_once()
    first, second = (f"run of {key}" for key in others.handed)
    others.ended = {first: (DONE, ""), second: (FAILED, "the seed is unlucky")}
    studio.watcher(deployment=others).run_once()
    assert sorted(states(studio)) == [DONE, FAILED]
    (note,) = (studio.out / "failed").iterdir()
    assert "the seed is unlucky" in note.read_text()
    studio.watcher(deployment=others).run_once()
    assert len(others.handed) == 2
    note.unlink()
    studio.watcher(deployment=others).run_once()
    assert len(others.handed) == 3, "asked again, it is another run"
    others.ended[f"run of {list(others.handed)[-1]}"] = (DONE, "")
    studio.watcher(deployment=others).run_once()
    assert states(studio) == [DONE, DONE]


def test_a_server_that_has_forgotten_is_told_again(studio: Studio) -> None:
    others = Others()
    studio.put("a.mp4")
    studio.watcher(deployment=others).run_once()
    (key,) = others.handed
    others.handed.clear()
    others.ended = {f"run of {key}": (LOST, "")}
    studio.watcher(deployment=others).run_once()
    assert list(others.handed) == [key] and states(studio) == [SUBMITTED]


def test_a_server_that_is_down_costs_nothing_but_time(studio: Studio) -> None:
    others = Others()
    others.down = True
    studio.put("a.mp4")
    with pytest.raises(UserError, match=r"a\.mp4 could not be submitted: nobody answers"):
        studio.watcher(deployment=others).run_once()
    watcher = studio.watcher(deployment=others)
    thread = threading.Thread(target=watcher.run, args=(0.1,))
    thread.start()
    try:
        wait_until(
            lambda: studio.said.count("a.mp4: could not be submitted, and will be: nobody answers") == 2
        )
        others.down = False
        wait_until(lambda: len(others.handed) == 1)
        others.down = True  # asking after it fails too
        time.sleep(0.5)
        others.down, others.ended = False, {f"run of {key}": (DONE, "") for key in others.handed}
        wait_until(lambda: states(studio) == [DONE])
    finally:
        watcher.stop()
        thread.join()
