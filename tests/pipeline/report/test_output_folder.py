"""The output folder appears whole or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import OutputError, UserError
from pipeline.report.manifest import files_of
from pipeline.report.output_folder import OutputFolder
from storage import file_hash


def test_files_appear_together_and_the_folder_is_made(tmp_path: Path) -> None:
    out = tmp_path / "a" / "b"
    (tmp_path / "source").write_bytes(b"1")
    with OutputFolder(out) as folder:
        folder.copy(tmp_path / "source", "x.mp4")
        (folder.draft / "manifest.json").write_text("{}")
        assert [p.name for p in out.iterdir()] == [folder.draft.name]
        folder.publish(last=["manifest.json"])
    assert {p.name for p in out.iterdir()} == {"x.mp4", "manifest.json"}


def test_files_of_an_earlier_job_go_unless_somebody_changed_them(tmp_path: Path) -> None:
    for name in ("old.mp4", "changed.mp4", "mine.mp4"):
        (tmp_path / name).write_text(name)
    earlier = {name: file_hash(tmp_path / name) for name in ("old.mp4", "changed.mp4")}
    (tmp_path / "changed.mp4").write_text("by hand")
    with OutputFolder(tmp_path) as folder:
        (folder.draft / "new.mp4").touch()
        folder.publish(replaces=earlier | {"../mine.mp4": "", "new.mp4": ""})
    assert {p.name for p in tmp_path.iterdir()} == {"changed.mp4", "mine.mp4", "new.mp4"}


def test_without_publish_nothing_stays(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), OutputFolder(tmp_path / "a" / "b") as folder:
        (folder.draft / "x").write_text("")
        raise RuntimeError
    assert not (tmp_path / "a").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "keep").touch()
    with OutputFolder(tmp_path / "mine"):
        pass
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["keep"]


def test_what_cannot_be_written_is_told_with_its_path(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "out"):
        with pytest.raises(OutputError, match=r"cannot be written.*--out"):
            OutputFolder(out)


def test_a_file_of_somebody_elses_keeps_its_place(tmp_path: Path) -> None:
    (tmp_path / "edited.mp4").write_text("mine")
    with OutputFolder(tmp_path) as folder:
        (folder.draft / "edited.mp4").write_text("ours")
        (folder.draft / "a.mp4").write_text("ours")
        with pytest.raises(UserError, match=r"edited\.mp4 was not written by Invid"):
            folder.publish()
    assert [p.name for p in tmp_path.iterdir()] == ["edited.mp4"]
    assert (tmp_path / "edited.mp4").read_text() == "mine"


def test_what_a_killed_process_left_goes_and_what_it_published_is_ours(tmp_path: Path) -> None:
    body = """
import json, os, signal, sys
from pathlib import Path
from pipeline.report.output_folder import OutputFolder
folder = OutputFolder(Path(sys.argv[1]))
manifest = {"cache": {}, "outputs": {"edited": "edited.mp4"}, "output_hashes": {"edited": "0"}}
(folder.draft / "manifest.json").write_text(json.dumps(manifest))
(folder.out / "edited.mp4").write_text("given its place")
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", body, str(tmp_path)], check=False, cwd=Path.cwd())
    (draft,) = tmp_path.glob(".draft-*")
    os.utime(draft, (1000, 1000))
    living = OutputFolder(tmp_path)
    os.utime(living.draft, (1000, 1000))
    assert set(files_of(tmp_path)) == {"edited.mp4", "manifest.json"}
    with OutputFolder(tmp_path) as folder:
        (folder.draft / "edited.mp4").write_text("again")
        folder.publish(replaces=files_of(tmp_path))
    assert {p.name for p in tmp_path.iterdir()} == {"edited.mp4", living.draft.name}
    living.close()
