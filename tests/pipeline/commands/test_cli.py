"""The console commands: bad input is one clear line and code 2, --json is JSON, Ctrl-C says what next."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from PIL import Image

from inverters.editing.direction_files import save_directions
from inverters.editing.directions import Direction, Directions
from inverters.generators.checkpoint import save_generator
from inverters.generators.config import GeneratorConfig
from inverters.generators.eg3d import Generator
from pipeline.commands import __main__ as cli
from pipeline.request.options import parse, to_words
from pipeline.request.submission import portable
from tests.pipeline.fakes import install, write_clip

BIN = Path(sys.executable).parent
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}
TINY = GeneratorConfig(
    z_dim=16,
    w_dim=16,
    c_dim=0,
    mapping_features=16,
    channel_base=64,
    channel_max=8,
    plane_resolution=16,
    plane_channels=4,
    img_resolution=64,
    neural_rendering_resolution=16,
    feature_channels=8,
    decoder_hidden=16,
    superresolution="small4x",
    sr_channels=(8, 8),
)


def run(*words: object, command: str = "process-video", cwd: Path | None = None) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a console command."""
    done = subprocess.run(
        [str(BIN / command), *map(str, words)],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        cwd=cwd,
        timeout=120,
    )
    return done.returncode, done.stdout, done.stderr


def refused(told: tuple[int, str, str], *parts: str) -> None:
    """Exit code 2, one line on standard error that holds these parts, no traceback."""
    code, _, error = told
    assert code == 2, told
    assert error.count("\n") == 1 and error.startswith("invid: ") and "Traceback" not in error, error
    for part in parts:
        assert part in error, error


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips good and bad, and a tiny generator."""
    root = tmp_path_factory.mktemp("cli")
    good = write_clip(root / "good.mp4", frames=24)
    (root / "empty.mp4").touch()
    (root / "text.mp4").write_text("this is not a video\n" * 100)
    (root / "cut.mp4").write_bytes(good.read_bytes()[:2000])
    with av.open(str(root / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.int16), format="s16", layout="mono")
        frame.sample_rate, frame.pts = 16000, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with av.open(str(root / "none.mp4"), "w") as container:
        video = container.add_stream("libx264", rate=12)
        video.width, video.height, video.pix_fmt = 96, 80, "yuv420p"
        container.start_encoding()
    (root / "masks").mkdir()
    for t in range(30):
        Image.new("L", (96, 80), 255).save(root / "masks" / f"{t:03d}.png")
    torch.manual_seed(0)
    save_generator(root / "tiny.safetensors", Generator(TINY).requires_grad_(False).eval())
    np.save(root / "sg2.npy", np.ones((18, 16)))
    np.save(root / "nan.npy", np.full(16, np.nan))
    other = Directions({"grin": Direction(torch.ones(16), "", "")}, "0123456789abcdef", "elsewhere")
    save_directions(root / "other.safetensors", other)
    (root / "code.pkl").write_bytes(b"\x80\x02cposix\nsystem\nX\x05\x00\x00\x00touchq\x00\x85R.")
    return root


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("nothing.mp4", ("no such file",)),
        ("empty.mp4", ("is empty",)),
        ("text.mp4", ("not a video",)),
        ("cut.mp4", ("cut off",)),
        ("sound.mp4", ("only sound",)),
        ("none.mp4", ("no picture stream",)),
        (".", ("folder",)),
    ],
)
def test_bad_input_files(folder: Path, tmp_path: Path, name: str, parts: tuple[str, ...]) -> None:
    told = run(folder / name, "--out", tmp_path / "out", "--cache", tmp_path / "cache")
    refused(told, *parts)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--codec", "divx"], ("unknown codec 'divx'", "known: auto, h264")),
        (["--reader", "opencv"], ("unknown reader", "known: av, decord")),
        (["--ingest", "sharpen"], ("unknown ingest filter", "deinterlace")),
        (["--edit", "smile"], ("--edit 'smile'", "NAME=VALUE")),
        (["--directions", "none.npy"], ("--directions none.npy", "no such file")),
        (["--view", "up"], ("--view 'up'", "orbit")),
        (["--generator", "stylegan"], ("unknown generator 'stylegan'", "bundled")),
        (["--generator", "nothing.pkl"], ("no such file",)),
        (["--occluder-masks", "nowhere"], ("no such folder",)),
        (["--cameras", "nothing.json"], ("no such file", "dataset.json")),
        (["--smoothing", "kalman"], ("unknown smoothing", "gaussian")),
        (["--detector", "dlib"], ("unknown detector", "mediapipe")),
        (["--max-frames", "0"], ("--max-frames", "1 or more")),
        (["--stitch"], ("--stitch has nothing to stitch", "--edit")),
        (["--stitch", "poisson"], ("unknown way to stitch 'poisson'", "known: weights, codes")),
        (["--inset"], ("--inset has no view", "--view")),
        (["--out", "/proc/nowhere"], ("/proc", "cannot be written", "--out")),
    ],
)
def test_bad_requests(
    folder: Path, capsys: pytest.CaptureFixture[str], words: list[str], parts: tuple[str, ...], tmp_path: Path
) -> None:
    out = [] if "--out" in words else ["--out", str(tmp_path / "out")]
    code = cli.process_video([str(folder / "good.mp4"), "--cache", str(tmp_path / "cache"), *out, *words])
    told = capsys.readouterr()
    refused((code, told.out, told.err), *parts)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--inverter", "magic"], ("unknown inversion method 'magic'", "in-n-out", "pti", "w+")),
        (["--smooth", "kalman"], ("unknown smoothing of codes 'kalman'", "none, causal, gaussian")),
        (["--preset", "best"], ("unknown preset 'best'", "draft", "paper")),
        (["--preset", "draft/no-nose"], ("unknown ablation 'no-nose'", "no-entropy")),
        (["--inverter", "pti", "--no-entropy"], ("--no-entropy", "an ablation of in-n-out, not of pti")),
        (["--preset", "released-masked"], ("--occluder-masks",)),
        (["--device", "tpu"], ("unknown device 'tpu'", "cpu")),
        (["--renderer", "raster"], ("unknown renderer 'raster'", "auto, cuda, cpu, reference")),
        (["--device", "cpu", "--renderer", "cuda"], ("--renderer cuda cannot render on cpu", "auto")),
        (["--generator", "code.pkl"], ("code.pkl",)),
        (["--generator", "tiny.safetensors", "--edit", "grin=1"], ("unknown edit 'grin'",)),
        (["--generator", "tiny.safetensors", "--occluder-masks", "masks"], ("30 masks", "24 frames")),
        (["--generator", "tiny.safetensors", "--directions", "sg2.npy"], ("sg2.npy", "2D StyleGAN2")),
        (["--generator", "tiny.safetensors", "--directions", "nan.npy"], ("nan.npy", "not finite")),
        (
            ["--generator", "tiny.safetensors", "--directions", "other.safetensors"],
            ("belong to generator 'elsewhere' (0123456789ab)",),
        ),
        (["--generator", "tiny.safetensors", "--directions", "good.mp4"], ("not a file of directions",)),
    ],
)
def test_bad_requests_that_need_a_closer_look(
    folder: Path,
    capfd: pytest.CaptureFixture[str],
    words: list[str],
    parts: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(folder)
    code = cli.process_video(
        ["good.mp4", "--out", str(tmp_path / "out"), "--cache", str(tmp_path / "cache"), *words]
    )
    told = capfd.readouterr()
    refused((code, told.out, told.err), *parts)
    assert not (tmp_path / "out").exists()


def test_a_submitted_request_means_the_same_in_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["a.mp4", "--directions", "x.npy", "--edit", "x=1", "--directions", "/y/z.pt", "--submit"]
    words += ["--view", "orbit", "--inset", "--stitch"]
    found = portable(parse(words))
    assert found == {
        "edit": ["x=1.0"],
        "directions": [str(tmp_path / "x.npy"), "/y/z.pt"],
        "view": "orbit",
        "inset": True,
        "stitch": "weights",
    }
    assert portable(parse(["b.mp4", *to_words(found)])) == found


def test_no_face_through_the_console(folder: Path, tmp_path: Path) -> None:
    """The face models chatter on standard error; one line is all a user gets."""
    told = run(
        folder / "good.mp4",
        *("--generator", folder / "tiny.safetensors", "--max-frames", 3),
        *("--out", tmp_path / "out", "--cache", tmp_path / "cache"),
    )
    refused(told, "no face was found in any of the 3 frames")
    assert "track" in told[1] or "decode" in told[1]


def test_help_is_quick_and_complete() -> None:
    began = time.process_time()
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    code, out, error = run("--help", command="invid")
    spent = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - children
    assert (code, error) == (0, "") and time.process_time() - began < 5
    assert spent < 0.5, f"invid --help took {spent:.2f} s of processor time"
    assert all(command in out for command in cli.COMMANDS)
    assert run("fly", command="invid")[0] == 2
    assert cli.main([]) == 2


def test_help_of_process_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["process", "--help"]) == 0
    text = capsys.readouterr().out
    options = "--out --cache --generator --device --renderer --inverter --preset --steps --edit"
    options += " --remove-occluder --view --directions"
    options += (
        " --occluder-masks --cameras --detector --face --smoothing --reader --ingest --max-frames --codec"
    )
    options += " --crops --seed --json --quiet"
    for option in options.split():
        assert option in text


def test_json_is_the_manifest_and_nothing_else(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(monkeypatch)
    monkeypatch.chdir(tmp_path)
    words = [str(folder / "good.mp4"), "--cache", "cache", "--max-frames", "8", "--edit", "smile=1"]
    assert cli.process_video([*words, "--json"]) == 0
    told = capsys.readouterr()
    manifest = json.loads(told.out)
    assert manifest["outputs"]["edited"] == "edited.mp4" and (tmp_path / "out/good/edited.mp4").is_file()
    assert "track" in told.err
    assert cli.process_video([*words, "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
    assert cli.process_video(words) == 0
    told = capsys.readouterr()
    assert "nothing to do" in told.out and "edited.mp4" in told.out and told.err == ""
    (tmp_path / "out/good/edited.mp4").write_bytes(b"changed by somebody")
    assert cli.process_video(words) == 0
    told = capsys.readouterr()
    assert "from the cache" in told.out and "edited.mp4" in told.out and told.err == ""
    assert cli.process_video([*words, "--seed", "1"]) == 0
    assert "nothing to do" not in capsys.readouterr().out


def test_what_nobody_expected_is_one_line_too(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fakes = install(monkeypatch)
    fakes.fail_in, fakes.error = "finetune", ZeroDivisionError("by zero")
    words = [str(folder / "good.mp4"), "--out", str(tmp_path / "out"), "--cache", str(tmp_path / "cache")]
    assert cli.process_video([*words, "--max-frames", "8"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "ZeroDivisionError: by zero" in error and "--debug" in error
    assert cli.process_video([*words, "--max-frames", "8", "--debug"]) == 1
    log = Path(capsys.readouterr().err.strip().rpartition(" ")[2])
    assert "Traceback" in log.read_text()
    log.unlink()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("limit", "where"), [(1500, "cache"), (12000, "out")])
def test_a_full_disk(
    folder: Path,
    tmp_path: Path,
    limit: int,
    where: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """No file may grow beyond the limit: first the cache's, then the report fails to be written."""
    install(monkeypatch)
    words = ["--max-frames", "8", "--out", str(tmp_path / "out"), "--cache", str(tmp_path / "cache")]
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        code = cli.process_video([str(folder / "good.mp4"), *words])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    told = capsys.readouterr()
    refused((code, told.out, told.err), str(tmp_path / where))
    assert "disk is full" in told.err or "File too large" in told.err
    assert not (tmp_path / "out").exists()
    assert not [p for p in (tmp_path / "cache").iterdir() if p.name.startswith(".tmp")]


def test_a_checkpoint_that_finds_the_disk_full(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not every writer goes through the cache: the inverters keep their own checkpoints."""
    from safetensors.torch import save_file

    fakes = install(monkeypatch)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def count(name: str) -> None:
        if name == "invert":
            resource.setrlimit(resource.RLIMIT_FSIZE, (4000, before[1]))
            save_file({"x": torch.zeros(10_000)}, fakes.checkpoints[0] / "inversion.safetensors")

    monkeypatch.setattr(fakes, "count", count)
    words = ["--max-frames", "8", "--out", str(tmp_path / "out"), "--cache", str(tmp_path / "cache")]
    try:
        code = cli.process_video([str(folder / "good.mp4"), *words])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    told = capsys.readouterr()
    refused((code, told.out, told.err), "the disk is full", "--cache")


def test_the_input_is_never_written_over(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = tmp_path / "edited.mp4"
    clip.write_bytes((folder / "good.mp4").read_bytes())
    code = cli.process_video([str(clip), "--out", str(tmp_path), "--cache", str(tmp_path / "cache")])
    told = capsys.readouterr()
    refused((code, told.out, told.err), "take the place of the input")


def interrupted(code: int, error: str, out: Path) -> None:
    """Exit code 130, one line that says how to go on, no output."""
    assert code == 130 and error.count("\n") == 1 and "same command" in error, (code, error)
    assert not out.exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_sigterm_and_sighup_are_like_ctrl_c(
    folder: Path, tmp_path: Path, monkeypatch: Any, capsys: pytest.CaptureFixture[str], number: int
) -> None:
    fakes = install(monkeypatch)

    def count(name: str) -> None:
        if name == "invert":
            os.kill(os.getpid(), number)

    monkeypatch.setattr(fakes, "count", count)
    words = ["--max-frames", "8", "--out", str(tmp_path / "out"), "--cache", str(tmp_path / "cache")]
    code = cli.process_video([str(folder / "good.mp4"), *words])
    error = capsys.readouterr().err
    interrupted(code, error, tmp_path / "out")
    assert "in stage invert" in error


def test_ctrl_c_through_the_console(folder: Path, tmp_path: Path) -> None:
    """A real SIGINT to the real command, at whatever it is doing."""
    process = subprocess.Popen(
        [str(BIN / "process-video"), str(folder / "good.mp4"), "--out", str(tmp_path / "out")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT | {"XDG_CACHE_HOME": str(tmp_path / "cache")},
    )
    assert process.stdout is not None and "good.mp4" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    interrupted(process.returncode, error, tmp_path / "out")


def test_forwarded_commands_know_their_own_options(capsys: pytest.CaptureFixture[str]) -> None:
    for words, option in ((["doctor", "--help"], "--json"), (["sample", "--help"], "--occluder")):
        assert cli.main(words) == 0
        assert option in capsys.readouterr().out


def test_doctor_tells_what_is_missing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", "--json", "--generator", str(folder / "tiny.safetensors")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["packages"]["torch"] == torch.__version__.partition("+")[0]
    assert found["renderer"]["picked"].startswith(("cpu (", "reference (", "cuda ("))
    assert found["generator"]["resolution"] == 64 and isinstance(found["lpips_weights"], bool)
    assert cli.main(["doctor", "--generator", str(folder / "nothing.pkl")]) == 1
    assert "nothing.pkl" in capsys.readouterr().out
