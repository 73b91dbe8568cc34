"""Numbers of the command line: every option has bounds, and what is out of them is one line and code 2."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from inverters.errors import InverterError
from inverters.training.encoder_settings import BOUNDS as ENCODER_BOUNDS
from inverters.training.settings import BOUNDS, TrainSettings
from pipeline.commands import __main__ as cli
from pipeline.commands.cache import size_of
from pipeline.errors import UserError
from pipeline.request.fields import Field, fields_of
from pipeline.request.options import from_mapping
from pipeline.request.settings import Request


def numbers() -> Iterator[tuple[str, Field]]:
    """Every numeric option of every command, by the command's name."""
    for name, command in cli.COMMANDS.items():
        module: Any = importlib.import_module(command.module)
        for run in (getattr(module, "ACTIONS", None) or {name: module.run}).values():
            yield from ((name, field) for field in fields_of(run) if field.type in (int, float))


def told(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What a command says that must be refused in one line."""
    assert cli.main(words) == 2
    found = capsys.readouterr()
    assert found.err.count("\n") == 1 and "unexpected" not in found.err and found.out == ""
    return found.err


def test_every_number_has_bounds() -> None:
    found = list(numbers())
    assert len(found) > 50
    free = {
        f"{name} --{field.name}"
        for name, field in found
        if field.mark.least is None or field.mark.most is None
        if not (name == "train-generator" and field.key in BOUNDS)
        if not (name == "train-encoder" and field.key in ENCODER_BOUNDS)
    }
    assert not free


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["process", "a.mp4", "--smoothing-window", "1e18"], "--smoothing-window must be 10 or less"),
        (["process", "a.mp4", "--smoothing-window", "inf"], "not a finite number"),
        (["process", "a.mp4", "--seed", str(2**64)], "--seed must be 4294967295 or less"),
        (["process", "a.mp4", "--seed", "-1"], "--seed must be 0 or more"),
        (["process", "a.mp4", "--threads", "１２"], "'１２' is not a whole number"),
        (["process", "a.mp4", "--threads", "1_2"], "'1_2' is not a whole number"),
        (["process", "a.mp4", "--ease", "０.5"], "is not a number"),
        (["process", "a.mp4", "--edit", "smile=１"], "'１' is not a number"),
        (["process", "a.mp4", "--edit", "smile=1@０-２s"], "the time range is written"),
        (["process", "a.mp4", "--steps", "9" * 5000], "is not a whole number"),
        (["process", "a.mp4", "--device", "cuda:²"], "--device cuda:²"),
        (["serve", "--port", "-1"], "--port must be 1 or more"),
        (["serve", "--workers", "-1"], "--workers must be 0 or more"),
        (["serve", "--every", "1e300"], "--every must be"),
        (["watch", "in", "--out", "out", "--quiet", "nan"], "--quiet: 'nan' is not a finite number"),
        (["cache", "gc", "--keep", "9" * 400], "is no size"),
        (["cache", "gc", "--keep", "５０GB"], "is no size"),
        (["sample", "a.mp4", "--size", "３８４x２８８"], "--size must look like 384x288"),
        (["sample", "a.mp4", "--size", "9" * 5000 + "x2"], "--size must look like 384x288"),
        (["sample", "a.mp4", "--seconds", "1e9"], "--seconds must be 3600 or less"),
        (["directions", "show", "--faces", str(10**9)], "--faces must be 100 or less"),
        (["train-generator", "--minutes", "-1"], "--minutes goes from 0"),
        (["train-encoder", "psp", "--minutes", "-1"], "--minutes goes from 0"),
        (["train-encoder", "vgg"], "unknown encoder 'vgg'; known: e3dge, e4e, e4e-mask, goae, goae-w+, psp"),
        (["train-encoder", "psp", "--start", "no.safetensors"], "there is no such encoder"),
        (["train-encoder", "psp", "--export", "a.pt"], "ending in .safetensors"),
        (["train-judge", "--nice", "-5"], "--nice must be 0 or more"),
    ],
)
def test_numbers_that_no_command_takes(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    words: list[str],
    says: str,
) -> None:
    from tests.pipeline.fakes import write_clip

    write_clip(tmp_path / "a.mp4", frames=1)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    words = [*words, "--quiet"] if words[0] == "process" else words
    assert says in told(capsys, *words)


def test_a_number_of_a_mapping_that_cannot_be_written_out() -> None:
    with pytest.raises(UserError, match="'seed' has a number of more than 900 bits"):
        from_mapping({"seed": 10**5000}, "settings", Request(Path("a.mp4")))


@pytest.mark.parametrize("name", BOUNDS)
def test_settings_of_a_training_have_bounds(name: str) -> None:
    least, most = BOUNDS[name]
    for value in (least - 1, most + 1, float("nan")):
        with pytest.raises(InverterError, match="goes from"):
            replace(TrainSettings(), **{name: value})  # type: ignore[arg-type]


def test_sizes() -> None:
    assert [size_of(text) for text in ("50GB", "800M", "1.5 t", "0")] == [
        50 * 10**9,
        8 * 10**8,
        15 * 10**11,
        0,
    ]
    with pytest.raises(UserError, match="is no size"):
        size_of("1e5")
