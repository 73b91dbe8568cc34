"""Requests of encoders, and `invid train-encoder`: what cannot be met is one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from inverters.generators.checkpoint import save_generator
from pipeline.commands import __main__ as cli
from pipeline.errors import UserError
from pipeline.request.checks import check_settings
from pipeline.request.options import parse
from tests.inverters.tiny import tiny_generator
from tests.pipeline.fakes import write_clip


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--start magic", "unknown encoder to start from 'magic'; known: auto, none, e3dge, e4e, e4e-mask"),
        ("--start psp --inverter e4e", "--start psp: the inverter e4e is itself an encoder"),
        ("--start psp --inverter vive3d", "--start psp: vive3d cannot begin from another inversion"),
        ("--inverter psp --steps 3", "--steps 3: the encoder psp takes no steps"),
        ("--inverter psp --space w", "--space w: the encoder psp tells w"),
        ("--encoder FILE --start none", "--encoder .*: nothing asks for an encoder"),
        ("--encoder FILE --preset paper", "--encoder .*: nothing asks for an encoder"),
        ("--encoder none.pt --inverter psp", "--encoder none.pt: there is no such file"),
    ],
)
def test_requests_that_cannot_be_met(words: str, says: str, tmp_path: Path) -> None:
    file = tmp_path / "file.safetensors"
    file.touch()
    given = [str(file) if word == "FILE" else word for word in words.split()]
    with pytest.raises(UserError, match=says) as error:
        check_settings(parse(["clip.mp4", *given]).settings)
    assert "\n" not in str(error.value)


def test_requests_that_can_be_met() -> None:
    for words in ("--start psp", "--inverter e4e", "--start e4e-mask --inverter w", "--start psp --space w"):
        check_settings(parse(["clip.mp4", *words.split()]).settings)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip, and two tiny generators."""
    found = tmp_path_factory.mktemp("encoders")
    write_clip(found / "clip.mp4", frames=1)
    for name, seed in (("tiny", 1.0), ("other", 1.5)):
        generator = tiny_generator()
        generator.decoder.net[2].bias[1] += seed
        save_generator(found / f"{name}.safetensors", generator)
    return found


def refused(capfd: pytest.CaptureFixture[str], *words: str) -> str:
    assert cli.main(words) == 2
    found = capfd.readouterr()
    assert found.err.count("\n") == 1 and "unexpected" not in found.err, found.err
    return found.err


def test_an_encoder_is_trained_and_is_for_its_generator_alone(
    folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(folder)
    quick = ("--covers", "0", "--samples", "4", "--batch", "2", "--picture-people", "0", "--nice", "0")
    train = ("train-encoder", "e4e-mask", "--set", "none", *quick, "--folder", str(tmp_path / "run"))
    assert cli.main([*train, "--minutes", "1e-6", "--generator", "tiny.safetensors"]) == 0
    encoder = tmp_path / "run" / "e4e-mask.safetensors"
    assert encoder.is_file() and encoder.with_suffix(".json").is_file()
    assert str(encoder) in capfd.readouterr().out
    other = refused(capfd, *train, "--minutes", "1", "--generator", "other.safetensors")
    assert "is for generator" in other and "--start" in other
    job = (
        "process",
        "clip.mp4",
        "--quiet",
        "--cache",
        str(tmp_path / "cache"),
        "--out",
        str(tmp_path / "out"),
    )
    asked = ("--inverter", "e4e-mask", "--encoder", str(encoder))
    other = refused(capfd, *job, *asked, "--generator", "other.safetensors")
    assert "was trained for generator" in other and "but the generator in use is" in other
    wrong = refused(
        capfd, *job, "--start", "psp", "--encoder", str(encoder), "--generator", "tiny.safetensors"
    )
    assert "is an encoder e4e-mask; expected psp" in wrong
    none = refused(capfd, *job, "--start", "goae-w+", "--generator", "tiny.safetensors")
    assert "no encoder goae-w+ is shipped" in none
    (tmp_path / "encoder_FFHQ.pt").touch()
    one = ("--inverter", "goae", "--encoder", str(tmp_path / "encoder_FFHQ.pt"))
    assert "there is no 'afa_FFHQ.pt' beside" in refused(capfd, *job, *one, "--generator", "tiny.safetensors")
    assert not (tmp_path / "out").exists()


def test_other_encoders_are_trained_go_on_and_are_for_one_generator(
    folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(folder)
    train = ("train-encoder", "base-code", "--samples", "4", "--batch", "2", "--nice", "0")
    train += ("--folder", str(tmp_path / "run"), "--minutes", "1e-6")
    encoder = tmp_path / "run" / "base-code.safetensors"
    for steps in (1, 2):
        assert cli.main([*train, "--generator", "tiny.safetensors"]) == 0
        assert f"{encoder}: base-code for block 8 of generator" in (told := capfd.readouterr().out)
        assert f"{steps} steps" in told
    fresh = [*train, "--generator", "other.safetensors", "--folder", str(tmp_path / "fresh")]
    assert cli.main([*fresh, "--start", str(encoder), "--export", str(tmp_path / "more.safetensors")]) == 0
    assert "1 steps" in capfd.readouterr().out
    assert "another base-code encoder" in refused(capfd, *train, "--generator", "other.safetensors")
    for name in ("goae", "triplanenet"):
        asked = ("train-encoder", name, "--generator", "tiny.safetensors", "--folder", str(tmp_path / name))
        assert "was trained for generator 'bundled'" in refused(capfd, *asked), "the shipped first stage"
    asked = ("--inverter", "w+", "--space", "f/w+", "--base-encoder", str(encoder), "--quiet")
    asked += ("--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "out"))
    other = refused(capfd, "process", "clip.mp4", *asked, "--generator", "other.safetensors")
    assert "is for generator" in other and "but the one in use is" in other
