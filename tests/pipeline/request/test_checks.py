"""Nothing of the user's is written over: seen before any work."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.job.walker import run_job
from pipeline.request.checks import check_request, with_start
from pipeline.request.edits import Edit
from pipeline.request.options import parse
from pipeline.request.settings import EditSettings, Settings
from tests.pipeline.fakes import install, write_clip

SMILE = Settings(edit=EditSettings(edits=(Edit("smile", 1.5),)))


@pytest.mark.parametrize("name", ["edited.mp4", "view.mkv", "report.html", "manifest.json"])
@pytest.mark.parametrize("linked", [False, True])
def test_the_input_is_never_written_over(tmp_path: Path, name: str, linked: bool) -> None:
    given = clip = write_clip(tmp_path / "clip.mp4").rename(tmp_path / name)
    if linked:
        (tmp_path / "elsewhere").mkdir()
        given = tmp_path / "elsewhere" / "link.mp4"
        given.symlink_to(clip)
    with pytest.raises(UserError, match="take the place of the input"):
        check_request(given, tmp_path, SMILE)
    check_request(given, tmp_path / "out", SMILE)


@pytest.mark.parametrize("name", ["edited.mp4", "report.html", "manifest.json"])
@pytest.mark.parametrize("kind", ["file", "dangling link"])
def test_a_file_of_the_users_is_never_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, kind: str
) -> None:
    install(monkeypatch)
    clip, out = write_clip(tmp_path / "clip.mp4"), tmp_path / "out"
    out.mkdir()
    if kind == "file":
        (out / name).write_text("{}")
    else:
        (out / name).symlink_to(tmp_path / "gone")
    with pytest.raises(UserError, match=f"{name} was not written by Invid"):
        run_job(clip, out, tmp_path / "cache", SMILE)
    assert [p.name for p in out.iterdir()] == [name] and not (tmp_path / "cache").exists()


def test_what_an_earlier_job_wrote_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
    clip, out = write_clip(tmp_path / "clip.mp4"), tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    run_job(clip, out, tmp_path / "cache", SMILE)
    first = (out / "manifest.json").read_bytes()
    run_job(clip, out, tmp_path / "cache", replace(SMILE, edit=replace(SMILE.edit, remove_occluder=True)))
    assert (out / "manifest.json").read_bytes() != first and (out / "removal.mp4").exists()
    assert (out / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("words", "start"),
    [
        ("", "e4e-mask"),
        ("--preset fast --inverter pti", "e4e-mask"),
        ("--preset paper", "none"),
        ("--start none", "none"),
        ("--space z+", "e4e-mask"),
        ("--inverter vive3d", "none"),
        ("--inverter e4e-mask", "none"),
        ("--generator own.safetensors", "none"),
        ("--preset paper --start e4e-mask", "e4e-mask"),
    ],
)
def test_where_a_fit_begins(words: str, start: str) -> None:
    asked = parse(["clip.mp4", *words.split()], files=False).settings
    assert with_start(asked).invert.start == start
    assert with_start(with_start(asked)) == with_start(asked)


def test_a_fit_that_begins_at_an_encoder_takes_fewer_steps() -> None:
    asked = parse(["clip.mp4"]).settings
    numbers, begun = asked.invert.of_method().codes, with_start(asked).invert.of_method().codes
    assert 0 < begun.steps == numbers.begun_steps < numbers.steps
