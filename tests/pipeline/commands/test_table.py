"""The table of commands: help that loads nothing heavy, and completion that knows all of it."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import pytest

from pipeline.commands import __main__ as cli
from pipeline.commands import cache, completion, directions
from pipeline.request.fields import fields_of
from pipeline.request.options import process_fields

ROOT = Path(__file__).parents[3]
WORDS = [["--help"], *([name, "--help"] for name in cli.COMMANDS)]
WORDS += [["cache", name, "--help"] for name in cache.ACTIONS]
WORDS += [["directions", name, "--help"] for name in directions.ACTIONS]


@pytest.mark.parametrize("words", WORDS, ids=" ".join)
def test_help_loads_nothing_heavy(words: list[str]) -> None:
    code = f"""
    import sys
    from pipeline.commands.__main__ import main
    assert main({words!r}) == 0
    assert not {{"torch", "prefect", "cv2", "mediapipe", "zarr"}} & set(sys.modules), sorted(sys.modules)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == "" and done.stdout.startswith("Usage: invid")


def test_help_of_invid_is_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name, command in cli.COMMANDS.items():
        assert any(line.split() == [name, *command.summary.split()] for line in lines), name


def test_each_command_is_a_thin_file_of_its_own() -> None:
    for name, command in cli.COMMANDS.items():
        assert command.module == f"pipeline.commands.{name.replace('-', '_')}"
        assert (ROOT / (command.module.replace(".", "/") + ".py")).is_file()


def test_the_console_scripts_are_those_of_the_table() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert {name: target.rpartition(":")[2] for name, target in scripts.items()} == {
        "invid": cli.main.__name__,
        "process-video": cli.process_video.__name__,
    }


@pytest.mark.parametrize("command", [*cache.ACTIONS.values(), *directions.ACTIONS.values()])
def test_every_parameter_of_a_subcommand_is_described(command: object) -> None:
    for field in fields_of(command):
        assert field.help.endswith("."), field.name


@pytest.mark.parametrize("name", [n for n in cli.COMMANDS if n not in ("cache", "directions")])
def test_every_parameter_of_a_command_is_described(name: str) -> None:
    import importlib

    for field in fields_of(importlib.import_module(cli.COMMANDS[name].module).run):
        assert field.help.endswith("."), field.name


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_completion_scripts_know_commands_and_options(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["completion", shell]) == 0
    text = capsys.readouterr().out
    for word in (*cli.COMMANDS, *cache.ACTIONS, "hevc", "gaussian"):
        assert word in text, word
    for field in process_fields():
        assert field.name in text, field.name


def completed(script: Path, *words: str, folder: Path) -> list[str]:
    """What bash offers for the last of these words."""
    code = """
    source "$1"; shift
    COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
    name=$(complete -p "$1" | sed 's/.*-F \\([^ ]*\\).*/\\1/')
    "$name" "$1" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
    printf '%s\\n' "${COMPREPLY[@]}"
    """
    done = subprocess.run(
        ["bash", "-c", textwrap.dedent(code), "bash", str(script), *words],
        capture_output=True,
        text=True,
        cwd=folder,
        check=False,
    )
    return done.stdout.split()


@pytest.mark.skipif(subprocess.run(["which", "bash"], check=False).returncode != 0, reason="there is no bash")
def test_bash_completes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["completion", "bash"]) == 0
    script = tmp_path / "completion.bash"
    script.write_text(capsys.readouterr().out)
    (tmp_path / "clip.mp4").touch()

    def offers(*words: str) -> list[str]:
        return completed(script, *words, folder=tmp_path)

    assert {"train-generator", "train-encoder", "train-judge"} <= set(offers("invid", "train"))
    assert set(offers("invid", "ca")) == {"calibrate", "cache"}
    assert {"ls", "gc", "verify"} <= set(offers("invid", "cache", ""))
    assert offers("invid", "cache", "gc", "--ke") == ["--keep"]
    assert set(offers("process-video", "clip.mp4", "--st")) == {
        "--start",
        "--steps",
        "--stitch",
        "--steady",
        "--strict",
    }
    known = {"auto", "h264", "hevc", "prores", "ffv1", "vp9", "png", "tiff", "jpeg", "webp", "avif"}
    assert set(offers("process-video", "clip.mp4", "--codec", "")) == known
    assert offers("process-video", "cl") == ["clip.mp4"]
    assert "clip.mp4" in offers("process-video", "clip.mp4", "--cameras", "c")
