"""Options of `invid sample`."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.commands import __main__ as cli
from pipeline.request.edits import View
from pipeline.samples import sample
from pipeline.samples.settings import SampleSettings


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[SampleSettings]:
    """The settings of what would have been written."""
    found: list[SampleSettings] = []

    def write(path: Path, settings: SampleSettings, on_frame: object) -> Path:
        found.append(settings)
        return path

    monkeypatch.setattr(sample, "write_sample", write)
    return found


def test_options_become_settings(made: list[SampleSettings]) -> None:
    words = ["--occluder", "hand", "--seconds", "1", "--attributes", "smile, age,smile", "--size", "64X32"]
    assert cli.main(["sample", *words, "o.mp4"]) == 0
    assert made == [SampleSettings("hand", 1.0, 15.0, 7, ("smile", "age"), (64, 32))]


def test_without_options_all_is_as_the_settings_say(made: list[SampleSettings]) -> None:
    assert cli.main(["sample", "o.mp4"]) == 0
    assert made == [SampleSettings()]


def test_none_leaves_out_and_what_is_repeated_counts_once(made: list[SampleSettings]) -> None:
    turned = ["--view", "yaw=-0.2", "--view", "yaw=0.1, pitch=0.05", "--view", "yaw=-0.2"]
    for words in (["--attributes", "none"], turned, ["--view", "none"]):
        assert cli.main(["sample", "o.mp4", *words]) == 0
    assert made[0].attributes == ()
    assert made[1].views == (View(-0.2), View(0.1, 0.05))
    assert made[2].views == ()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--view", "sideways"], "radians"),
        (["--size", "big"], "384x288"),
        (["--occluder", "hat-stand"], "known: mask"),
        (["--seconds", "nan"], "not a finite number"),
    ],
)
def test_what_cannot_be_read_is_one_line(
    made: list[SampleSettings], words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["sample", "o.mp4", *words]) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1 and not made
