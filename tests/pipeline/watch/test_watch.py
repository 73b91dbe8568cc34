"""A watched folder: complete files only, each content once, whatever is done to folder and watcher."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.watch.folder import WatchedFolder, open_for_writing
from pipeline.watch.ledger import DONE, Ledger
from pipeline.watch.watcher import Watcher
from tests.pipeline.studio import Studio

ROOT = Path(__file__).parents[3]


@pytest.fixture
def studio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Studio:
    return Studio(tmp_path, monkeypatch)


def test_each_content_once_whatever_its_name_and_however_often_it_is_started(studio: Studio) -> None:
    studio.put("a.mp4")
    studio.put("sub/b.mp4", b"b")
    studio.once()
    assert sorted(studio.worked) == ["a.mp4", "sub/b.mp4"]
    assert (studio.out / "a/manifest.json").is_file() and (studio.out / "sub/b/manifest.json").is_file()
    studio.put("again.mp4")
    (studio.root / "a.mp4").rename(studio.root / "renamed.mp4")
    studio.once()
    studio.once()
    assert len(studio.worked) == 2
    (record,) = [r for r in Ledger(studio.out).all() if r.name == "a.mp4"]
    assert record.state == DONE and sorted(record.others) == ["again.mp4", "renamed.mp4"]


def test_other_options_are_another_job_with_a_folder_of_its_own(studio: Studio) -> None:
    clip = studio.put("a.mp4")
    before = clip.stat()
    studio.once(["--edit=smile=1"])
    (studio.root / "a.yaml").write_text("edit: [age=-1, 'glasses=1@0-1s']\nremove_occluder: true\n")
    studio.once(["--edit=smile=1"])
    studio.once(["--edit=smile=1"])
    assert studio.worked == ["a.mp4", "a.mp4"]
    assert len([p for p in studio.out.iterdir() if p.name.startswith("a")]) == 2
    assert "--edit=age=-1" in studio.log.read_text() and "--remove-occluder" in studio.log.read_text()
    after = clip.stat()
    assert (after.st_mtime_ns, after.st_ino, after.st_ctime_ns) == (
        before.st_mtime_ns,
        before.st_ino,
        before.st_ctime_ns,
    )


def test_a_pause_in_a_copy_does_not_fool_it(studio: Studio) -> None:
    whole = studio.clip.read_bytes()
    path = studio.root / "slow.mp4"
    stop, looked = threading.Event(), threading.Event()

    def copy() -> None:
        with path.open("wb") as file:  # stays open, as that of a real copy does
            for start in range(0, len(whole), len(whole) // 2):
                file.write(whole[start : start + len(whole) // 2])
                file.flush()
                time.sleep(2.0)
            stop.set()
            looked.wait(60)  # closed only when nobody looks any more

    thread = threading.Thread(target=copy)
    thread.start()
    watcher = studio.watcher(quiet=0.5)
    while not stop.is_set():
        watcher.scan()
        watcher.work()
        assert watcher.idle and not studio.worked
        time.sleep(0.1)
    looked.set()
    thread.join()
    watcher.run_once()
    assert studio.worked == ["slow.mp4"]


def test_a_copy_from_elsewhere_that_pauses_longer_than_the_quiet_time(studio: Studio) -> None:
    """Not seen open here, as over a network: what is there is cut off by its own account."""
    whole = studio.clip.read_bytes()
    path = studio.root / "slow.mp4"
    path.write_bytes(whole[: len(whole) // 2])
    studio.once(quiet=0.2)
    assert not studio.worked and any("cut off" in line for line in studio.said)
    path.write_bytes(whole)
    studio.once(quiet=0.2)
    assert studio.worked == ["slow.mp4"]
    assert not (studio.out / "failed" / "slow.txt").exists(), "the note goes with the reason for it"
    assert (studio.out / "slow" / "manifest.json").is_file()


def test_renamed_into_place_is_taken_at_once(studio: Studio) -> None:
    part = studio.root / "a.mp4.part"
    shutil.copy(studio.clip, part)
    folder = WatchedFolder(studio.root, quiet=60.0)
    assert folder.look() == ([], {})
    part.rename(studio.root / "a.mp4")
    began = time.monotonic()
    while not (ready := folder.look()[0]):
        assert time.monotonic() - began < 20
        time.sleep(0.1)
    assert [r.name for r in ready] == [Path("a.mp4")]


def test_a_fresh_file_waits_for_the_quiet_time(studio: Studio) -> None:
    shutil.copyfile(studio.clip, studio.root / "a.mp4")
    folder = WatchedFolder(studio.root, quiet=3.0)
    began = time.monotonic()
    while not folder.look()[0]:
        assert time.monotonic() - began < 20
        time.sleep(0.1)
    assert time.monotonic() - began > 2.0


def test_open_for_writing_is_seen_across_processes(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.touch()
    code = f"import time; f = open({str(path)!r}, 'ab'); print('open', flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None and process.stdout.readline() == "open\n"
        info = path.stat()
        assert (info.st_dev, info.st_ino) in open_for_writing()
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
    assert (info.st_dev, info.st_ino) not in open_for_writing()
    with path.open("rb"):
        assert (info.st_dev, info.st_ino) not in open_for_writing()


def test_failures_are_told_and_tried_again_when_asked(studio: Studio) -> None:
    studio.put("a.mp4")
    (studio.root / "a.yaml").write_text("seed: 13\n")
    studio.once()
    note = studio.out / "failed" / "a.txt"
    assert "the seed is unlucky" in note.read_text() and "Delete this file" in note.read_text()
    studio.once()
    assert len(studio.worked) == 1, "what is wrong with the request is not tried again by itself"
    note.unlink()
    studio.once()
    assert len(studio.worked) == 2 and note.exists()
    (studio.root / "a.yaml").write_text("seed: 14\n")
    studio.once()
    assert len(studio.worked) == 3


def test_a_job_that_is_killed_again_and_again_is_given_up(studio: Studio) -> None:
    studio.put("a.mp4")
    (studio.root / "a.yaml").write_text("seed: 9\n")
    studio.once()
    assert len(studio.worked) == 3
    assert "killed 3 times" in (studio.out / "failed" / "a.txt").read_text()


def test_what_is_written_without_end_does_not_keep_once_from_ending(studio: Studio) -> None:
    studio.put("a.mp4")
    ended = threading.Event()

    def write() -> None:
        with (studio.root / "live.mp4").open("wb") as file:
            while not ended.is_set():
                file.write(b"x" * 100)
                file.flush()
                ended.wait(0.05)

    thread = threading.Thread(target=write)
    thread.start()
    studio.once()
    ended.set()
    thread.join()
    assert studio.worked == ["a.mp4"]


def test_what_was_refused_is_looked_at_again_when_its_note_is_deleted(studio: Studio) -> None:
    (studio.root / "a.mp4").symlink_to(studio.clip)
    watcher = studio.watcher()
    watcher.look_twice()
    note = studio.out / "failed" / "a.txt"
    assert "outside" in note.read_text() and "Tried" not in note.read_text()
    watcher.look_twice()
    note.unlink()
    watcher.look_twice()
    assert note.exists() and sum("refused" in line for line in studio.said) == 2


def test_a_link_in_a_circle_is_refused_and_others_go_on(studio: Studio) -> None:
    for name in ("loop.mp4", "loop.txt"):
        (studio.root / name).symlink_to(name)
    studio.put("a.mp4")
    studio.once()
    assert studio.worked == ["a.mp4"]
    assert [path.name for path in (studio.out / "failed").iterdir()] == ["loop.txt"]
    assert "cannot be read" in (studio.out / "failed" / "loop.txt").read_text()


def test_a_folder_that_is_not_there_or_cannot_take_results(studio: Studio, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        Watcher(tmp_path / "none", tmp_path / "out")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        Watcher(studio.root, tmp_path / "file" / "out")
    (tmp_path / "same").symlink_to(studio.root)
    with pytest.raises(UserError, match="taken for clips"):
        Watcher(studio.root, tmp_path / "same")


def test_two_hundred_at_once_with_names_of_all_kinds(studio: Studio) -> None:
    names = [
        "with space.mp4",
        "new\nline.mp4",
        "sm\U0001f600le.MP4",
        "..mp4.mp4",
        "-o.mp4",
        "ümläut/ä.mov",
        "a'b\"c.mkv",
    ]
    shutil.rmtree(studio.root)
    for number in range(200):
        name = names[number] if number < len(names) else f"{number % 7}/{number}.mp4"
        studio.put(name, f"{number}".encode())
    watcher = studio.watcher(jobs=4)
    watcher.run_once()
    visible = studio.worked
    assert len(visible) == len(set(visible)) == 199, "and hidden ones are left alone"
    assert {r.state for r in Ledger(studio.out).all()} == {DONE}
    assert all((studio.out / r.folder / "manifest.json").is_file() for r in Ledger(studio.out).all())


def test_links_to_outside_are_refused_and_hidden_files_left_out(studio: Studio) -> None:
    (studio.root / "out.mp4").symlink_to(studio.clip)
    (studio.root / "nowhere.mp4").symlink_to(studio.root / "gone.mp4")
    studio.put("in.mp4", b"1")
    (studio.root / "in2.mp4").symlink_to(studio.root / "in.mp4")
    studio.put(".hidden.mp4", b"2")
    studio.put(".trash/c.mp4", b"3")
    studio.once()
    assert len(studio.worked) == 1 and studio.worked[0] in ("in.mp4", "in2.mp4")
    assert "outside" in (studio.out / "failed" / "out.txt").read_text()


def test_replaced_or_gone_while_it_waited(studio: Studio) -> None:
    first, second, third = (studio.put(f"{name}.mp4", name.encode()) for name in "abc")
    watcher = studio.watcher()
    began = time.monotonic()
    while watcher.idle:
        watcher.scan()
        assert time.monotonic() - began < 20
    second.unlink()
    third.write_bytes(studio.clip.read_bytes() + studio.box(b"another"))
    watcher.run_once()
    assert sorted(studio.worked) == ["a.mp4", "c.mp4"]
    assert first.exists() and [r.state for r in Ledger(studio.out).all()].count(DONE) == 2


def test_no_video_and_bad_side_files_are_told_once(studio: Studio) -> None:
    (studio.root / "text.mp4").write_text("not a video")
    os.utime(studio.root / "text.mp4", (1, 1))
    studio.put("a.mp4")
    (studio.root / "a.yaml").write_text("outt: x\n")
    studio.once()
    studio.once()
    assert studio.worked == []
    assert sum("refused" in line for line in studio.said) == 2
    assert "a.yaml" in (studio.out / "failed" / "a.txt").read_text()
    (studio.root / "a.yaml").unlink()
    studio.once()
    assert studio.worked == ["a.mp4"]


def test_a_watcher_killed_in_the_middle_loses_nothing_and_its_job_is_not_started_twice(
    studio: Studio,
) -> None:
    studio.put("a.mp4")
    worker = str(studio.clip.parent / "worker.py")
    code = f"""
    import sys
    from pathlib import Path
    from pipeline.watch import local_jobs
    from pipeline.watch.watcher import Watcher
    local_jobs.COMMAND = [sys.executable, {worker!r}]
    Watcher(Path({str(studio.root)!r}), Path({str(studio.out)!r}), [], 0.3).run(0.2)
    """
    environment = os.environ | {"TAKES": "6"}
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], cwd=ROOT, env=environment)
    began = time.monotonic()
    while not studio.worked:
        assert time.monotonic() - began < 60
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    watcher = studio.watcher()
    while not (studio.out / "a/manifest.json").exists():  # by the job that outlived its watcher
        watcher.scan()
        watcher.work()
        assert len(studio.worked) == 1 and time.monotonic() - began < 90
        time.sleep(0.1)
    assert studio.said.count("a.mp4: another process is at it") == 1
    (record,) = Ledger(studio.out).all()
    lock = Ledger(studio.out).lock(record.identity)
    lock.acquire(wait=True)  # until that job's process has gone
    lock.release()
    watcher.run_once()
    assert [r.state for r in Ledger(studio.out).all()] == [DONE]
