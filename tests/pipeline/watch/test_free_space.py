"""A nearly full disk: clips wait for room and go on by themselves, and none is given up at once."""

from __future__ import annotations

import errno
import shutil
import threading
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from pipeline.watch.free_space import FreeSpace
from pipeline.watch.ledger import DONE, FAILED, SUBMITTED, Ledger
from tests.pipeline.studio import Studio, wait_until
from tests.pipeline.watch.test_watch_submit import Others, states

Usage = namedtuple("Usage", "total used free")
FULL = "cannot write to the cache folder /c: the disk is full; free some space or choose another folder"


class Disk:
    """A disk of which so much is free."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.free = 10**6
        monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**12, 0, self.free))


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


@pytest.fixture
def studio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Studio:
    return Studio(tmp_path, monkeypatch)


def run(studio: Studio, **how: Any) -> tuple[Any, threading.Thread]:
    watcher = studio.watcher(**how)
    thread = threading.Thread(target=watcher.run, args=(0.1,))
    thread.start()
    return watcher, thread


@pytest.mark.parametrize("submitted", [False, True])
def test_clips_wait_for_room_and_go_on_by_themselves(studio: Studio, disk: Disk, submitted: bool) -> None:
    others = Others()
    studio.put("a.mp4")
    watcher, thread = run(studio, deployment=others if submitted else None)
    try:
        wait_until(lambda: any("clips wait for room" in line for line in studio.said))
        assert not studio.worked and not others.handed and not watcher.idle
        disk.free = 10**12
        wait_until(lambda: states(studio) == [SUBMITTED if submitted else DONE])
        said = [line for line in studio.said if " free" in line]
        assert len(said) == 2 and "less than --free 2.00 GB" in said[0] and "clips go on" in said[1], said
    finally:
        watcher.stop()
        thread.join()


def test_a_run_that_fills_the_disk_is_submitted_again_and_given_up_the_third_time(
    studio: Studio, disk: Disk
) -> None:
    disk.free = 10**12
    others = Others()
    studio.put("a.mp4")
    for tries in (1, 2, 3):
        studio.watcher(deployment=others).run_once()
        assert len(others.handed) == tries, "each time it is another run"
        others.ended = {f"run of {key}": (FAILED, FULL) for key in others.handed}
    studio.watcher(deployment=others).run_once()
    assert states(studio) == [FAILED] and len(others.handed) == 3


def test_a_job_that_fills_the_disk_is_tried_again(studio: Studio, disk: Disk, tmp_path: Path) -> None:
    disk.free = 10**12
    worker = tmp_path / "worker.py"
    once = tmp_path / "once"
    head = f"""
import sys
from pathlib import Path
if not Path({str(once)!r}).exists():
    Path({str(once)!r}).touch()
    print("invid: {FULL}", file=sys.stderr)
    sys.exit(2)
"""
    worker.write_text(head + worker.read_text())
    studio.put("a.mp4")
    studio.once()
    assert states(studio) == [DONE] and any("tried again" in line for line in studio.said)


def test_records_that_cannot_be_written_are_written_when_there_is_room(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, full = Ledger.write, threading.Event()
    full.set()

    def written(ledger: Ledger, record: Any) -> Any:
        if full.is_set():
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(ledger, record)

    monkeypatch.setattr(Ledger, "write", written)
    studio.put("a.mp4")
    watcher, thread = run(studio)
    try:
        wait_until(lambda: any("waits for room" in line for line in studio.said))
        full.clear()
        wait_until(lambda: states(studio) == [DONE])
        assert sum("waits for room" in line for line in studio.said) == 1
    finally:
        watcher.stop()
        thread.join()


def test_the_fullest_disk_counts_and_folders_need_not_exist(tmp_path: Path) -> None:
    said: list[str] = []
    free = shutil.disk_usage(tmp_path).free
    assert FreeSpace([tmp_path / "not/yet", tmp_path], 1, said.append).suffices() and said == []
    short = FreeSpace([tmp_path / "not/yet"], 100 * free, said.append)
    assert not short.suffices() and not short.suffices() and len(said) == 1
