"""`invid directions`: find, list, show; what cannot be meant is one line and writes nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from inverters.editing.direction_files import load_directions, read_directions, save_directions
from inverters.editing.directions import Direction, Directions
from inverters.editing.sampling import sample_codes
from inverters.generators.checkpoint import save_generator
from inverters.generators.eg3d import Generator
from inverters.generators.load import load_generator
from inverters.people.params import PARAMETERS
from pipeline.commands import __main__ as cli
from pipeline.directions.strips import draw_codes
from tests.inverters.tiny import tiny_generator


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generator whose first two inputs have names, and directions of its own."""
    path = tmp_path_factory.mktemp("g") / "named.safetensors"
    generator = tiny_generator(parameters=("smile", "age"))
    own = {"smile": torch.ones(16), "age": torch.randn(6, 16, generator=torch.Generator().manual_seed(0))}
    save_generator(path, generator, replace(generator.card, name="named", directions=own), torch.float32)
    return path


@pytest.fixture(scope="module")
def nameless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("g") / "nameless.safetensors"
    save_generator(path, tiny_generator())
    return path


def told(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = cli.main(["directions", *map(str, words)])
    found = capsys.readouterr()
    return code, found.out, found.err


def refused(capsys: pytest.CaptureFixture[str], *words: object, says: str) -> None:
    code, _, error = told(capsys, *words)
    assert code == 2 and error.startswith("invid: ") and error.count("\n") == 1, error
    assert says in error, error


def test_interfacegan_by_true_parameters(
    named: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "svm.safetensors"
    words = ("fit", "--method", "interfacegan", "--generator", named, "--samples", 3000, "--out", out)
    code, printed, _ = told(capsys, *words)
    assert code == 0 and str(out) in printed and "held-out" in printed
    generator = load_generator(named)
    found = load_directions(out, generator, allow_unmarked=False).named
    assert list(found) == ["smile", "age"]
    # One step moves the parameter by about one deviation: more than any other, and the right way.
    scores = torch.randn(200, 2, generator=torch.Generator().manual_seed(9))
    w = generator.mapping(torch.cat([scores, torch.ones(200, 14)], 1))[:, 0]
    for k, name in enumerate(("smile", "age")):
        along = torch.nn.functional.normalize(torch.as_tensor(found[name].step), dim=0)
        right, other = (torch.corrcoef(torch.stack([w @ along, scores[:, j]]))[0, 1] for j in (k, 1 - k))
        assert right > 0.8 and right > other.abs()
        assert torch.as_tensor(found[name].step).norm() == pytest.approx(float((w @ along).std()), rel=0.2)
    first = out.read_bytes()
    assert told(capsys, *words)[0] == 0 and out.read_bytes() == first  # a seed gives the same bytes
    conditional = tmp_path / "conditional.safetensors"
    assert told(capsys, *words[:-1], conditional, "--condition-on", "age", "--names", "smile")[0] == 0
    (one,) = read_directions(conditional).named.values()
    assert abs(float(torch.as_tensor(one.step) @ torch.as_tensor(found["age"].step))) < 1e-3
    assert "conditional on age" in one.method


@pytest.mark.parametrize("method", ["ganspace", "sefa"])
def test_components_in_some_layers(
    method: str, nameless: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "c.safetensors"
    words = ("fit", "--method", method, "--generator", nameless, "--components", 3, "--samples", 500)
    assert told(capsys, *words, "--layers", "1-2", "--out", out)[0] == 0
    found = load_directions(out, load_generator(nameless)).named
    assert len(found) == 3
    for one in found.values():
        step = torch.as_tensor(one.step)
        assert one.space == "w+" and step[1:3].abs().sum() > 0 and "layers 1-2" in one.method
        assert not step[[0, 3, 4, 5]].any()


@pytest.mark.parametrize("method", ["interfacegan", "ganspace", "sefa", "local-basis", "random"])
def test_directions_in_z(
    method: str, named: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, generator = tmp_path / "z.safetensors", load_generator(named)
    words = ("fit", "--method", method, "--space", "z+", "--generator", named, "--out", out)
    words += ("--samples", 500) if method == "interfacegan" else ("--components", 2)
    assert told(capsys, *words)[0] == 0
    found = load_directions(out, generator, allow_unmarked=False).named
    wanted = "z+" if method == "local-basis" else "z"  # equal in all layers
    assert [one.space for one in found.values()] == [wanted] * 2
    assert all(one.arc == (method == "interfacegan") for one in found.values())
    show = ("show", out, "--generator", named, "--columns", 2, "--size", 32, "--faces", 1)
    assert told(capsys, *show, "--out", tmp_path / "z.png")[0] == 0
    pixels = np.asarray(Image.open(tmp_path / "z.png")).astype(int)[16:, 90:]
    assert np.abs(pixels[:, :32] - pixels[:, 32:]).max() > 0
    if method == "interfacegan":
        # An arc towards the first parameter raises it, and moves no unnamed entry of z by itself.
        step = torch.as_tensor(found["smile"].step)
        assert step[0] > 0 and step[0].abs() > 3 * step[1].abs()


def test_labels_of_a_users_own(nameless: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    generator = load_generator(nameless)
    true = torch.nn.functional.normalize(torch.randn(16, generator=torch.Generator().manual_seed(5)), dim=0)
    z = torch.from_numpy(np.stack([np.random.RandomState(s).randn(16) for s in range(800)])).float()
    codes = generator.mapping(z)[:, 0]
    scores = ((codes @ true - (codes @ true).mean()) / (codes @ true).std()).numpy()
    lines = [f"{seed},{score if seed % 10 else ''}" for seed, score in enumerate(scores)]
    (tmp_path / "scores.csv").write_text("\n".join(["seed,charm", *lines]))
    np.savez(tmp_path / "scores.npz", codes=codes.numpy(), charm=scores)
    for labels, faces in (("scores.csv", 720), ("scores.npz", 800)):
        out = tmp_path / f"{labels}.safetensors"
        words = ("fit", "--method", "interfacegan", "--generator", nameless, "--out", out)
        assert told(capsys, *words, "--labels", tmp_path / labels)[0] == 0
        one = load_directions(out, generator).named["charm"]
        assert f"on {faces} faces, labelled by {labels}" in one.method
        along = torch.corrcoef(torch.stack([codes @ torch.as_tensor(one.step), torch.from_numpy(scores)]))[
            0, 1
        ]
        assert along > 0.9


def test_labels_that_the_judge_reads_from_pictures(
    nameless: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Brightness:
        """Reads the first parameter as how bright a picture is, and sees nothing in a fifth of them."""

        def scores(self, images: np.ndarray) -> np.ndarray:
            found = np.random.default_rng(0).normal(size=(len(images), len(PARAMETERS))).astype(np.float32)
            found[:, 0] = images.mean((1, 2, 3))
            found[::5] = np.nan
            return found

    monkeypatch.setattr("pipeline.scoring.judge.Judge", Brightness)
    out = tmp_path / "bright.safetensors"
    words = ("fit", "--method", "interfacegan", "--generator", nameless, "--labels", "judge")
    name = PARAMETERS[0].name
    assert told(capsys, *words, "--samples", 150, "--names", name, "--out", out)[0] == 0
    generator = load_generator(nameless)
    one = load_directions(out, generator).named[name]
    assert "on 120 faces, labelled by the judge" in one.method
    codes, _ = sample_codes(generator, 20, torch.Generator().manual_seed(77))
    step = torch.as_tensor(one.step)
    dark, bright = (draw_codes(generator, codes + k * step).mean((1, 2, 3)) for k in (-1, 1))
    assert (bright > dark).mean() > 0.9


def test_labels_that_cannot_be_read(
    nameless: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.safetensors"
    words = ("fit", "--method", "interfacegan", "--generator", nameless, "--out", out, "--labels")
    labels = tmp_path / "labels.csv"
    for text, says in (
        ("", "no lines"),
        ("seed,a\n1", "not every line"),
        ("seed,a\n1,x", "could not convert"),
        ("a,b\n1,2", "'seed'"),
        ("seed\n1", "at least one column"),
        ("seed,a\n0.5,1", "whole number"),
        ("seed,a,a\n1,1,1", "two columns"),
        ("seed,a\n1,1\n2,2", "too few"),
    ):
        labels.write_text(text)
        refused(capsys, *words, labels, says=says)
    np.savez(tmp_path / "l.npz", codes=np.ones((9, 3)), a=np.ones(9))
    refused(capsys, *words, tmp_path / "l.npz", says="[N,16]")
    np.savez(tmp_path / "l.npz", codes=np.ones((9, 16)), a=np.ones(8))
    refused(capsys, *words, tmp_path / "l.npz", says="not [9]")
    np.savez(tmp_path / "l.npz", codes=np.ones((9, 16)), a=np.ones(9))
    refused(capsys, *words, tmp_path / "l.npz", "--space", "z", says="have codes of w alone")
    refused(capsys, *words, tmp_path / "none.csv", says="no such file")
    refused(capsys, *words, "parameters", says="no named parameters")
    refused(capsys, *words, labels, "--samples", 10, says="--samples is for random faces")
    assert not out.exists()


def test_requests_that_cannot_be_meant(
    named: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    fit = ("fit", "--generator", named, "--samples", 300, "--method")
    refused(capsys, "fit", says="needs --method")
    refused(capsys, "fit", "x.npy", "--method", "sefa", says="'x.npy' is one word too many")
    refused(capsys, "fit", "--method", "pca", says="known: interfacegan, ganspace, sefa")
    refused(capsys, *fit, "sefa", "--out", "x.npy", says=".safetensors")
    refused(capsys, *fit, "local-basis", says="needs --space z or z+")
    refused(capsys, *fit, "local-basis", "--space", "z+", "--layers", "0-1", says="leave out --layers")
    refused(capsys, *fit, "random", "--space", "f/z+", says="known: w, w+, z, z+")
    refused(capsys, *fit, "sefa", "--out", "no/x.safetensors", says="no folder")
    refused(capsys, *fit, "sefa", "--components", 17, says="from 1 to 16")
    refused(capsys, *fit, "sefa", "--layers", "4-6", says="from 0 to 5")
    refused(capsys, *fit, "sefa", "--layers", "3-1", says="from 0 to 5")
    refused(capsys, *fit, "ganspace", "--names", "smile", says="--names is for")
    refused(capsys, *fit, "interfacegan", "--names", "grin", says="known: smile, age")
    refused(capsys, *fit, "interfacegan", "--condition-on", "grin", says="known: smile, age")
    refused(capsys, "show", "--generator", named, "--columns", 1, says="--columns must be 2")
    refused(capsys, "show", "--generator", named, "--out", "x.jpg", says=".png")
    refused(capsys, "show", "none.npy", "--generator", named, says="no file of directions")
    refused(capsys, "list", "none.npy", says="no file of directions")
    assert not list(tmp_path.iterdir())


def test_a_converted_file_belongs_to_its_generator(
    named: Path, nameless: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    basis = np.random.default_rng(0).normal(size=(16, 16)).astype(np.float32)
    np.save(tmp_path / "pca.npy", np.asfortranarray(basis))
    out = tmp_path / "smile.safetensors"
    words = ("convert", tmp_path / "pca.npy", "--names", "pca.12,pca.3", "--layers", "0-4", "--out", out)
    refused(capsys, *words, says="needs --generator")
    assert told(capsys, *words, "--generator", named)[0] == 0
    found = load_directions(out, load_generator(named), allow_unmarked=False).named
    assert list(found) == ["pca.12", "pca.3"]
    step = torch.as_tensor(found["pca.12"].step)
    assert np.array_equal(step[:5].numpy(), np.tile(basis[12], (5, 1))) and not step[5].any()
    other = tmp_path / "other.safetensors"
    refused(
        capsys, "convert", out, "--generator", nameless, "--out", other, says="belong to generator 'named'"
    )
    assert not other.exists()


def test_lists_say_what_is_known(named: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, printed, _ = told(capsys, "list", "--generator", named)
    assert code == 0 and "one standard deviation of the parameter" in printed and "'" not in printed
    assert [line.split()[:2] for line in printed.splitlines()[1:3]] == [["age", "w+"], ["smile", "w"]]
    np.save(tmp_path / "glass.npy", np.full((1, 14, 512), 0.5, np.float32))
    found = json.loads(told(capsys, "list", tmp_path / "glass.npy", "--json")[1])
    assert found["fingerprint"] is None
    assert found["directions"]["glass"]["space"] == "w"
    assert found["directions"]["glass"]["norm"] == pytest.approx(0.5 * 512**0.5)
    refused(capsys, "list", tmp_path / "glass.npy", "--generator", named, says="[16] or [6,16]")
    other = tmp_path / "other.safetensors"
    save_directions(other, Directions({"x": Direction(torch.ones(16), "u", "m")}, "0" * 64, "elsewhere"))
    assert "elsewhere (000000000000)" in told(capsys, "list", other)[1]
    refused(capsys, "list", other, "--generator", named, says="elsewhere")


def test_a_strip_shows_each_face_at_each_strength(
    named: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "strip.png"
    words = (
        "show",
        "--generator",
        named,
        "--faces",
        2,
        "--columns",
        3,
        "--size",
        32,
        "--range",
        4,
        "--out",
        out,
    )
    assert told(capsys, *words, "--names", "smile")[0] == 0
    with Image.open(out) as image:
        pixels = np.asarray(image).astype(int)
    assert pixels.shape == (16 + 2 * 32, 90 + 3 * 32, 3)
    faces = pixels[16:, 90:].reshape(2, 32, 3, 32, 3).transpose(0, 2, 1, 3, 4)
    generator = load_generator(named)
    codes, _ = sample_codes(generator, 2, torch.Generator().manual_seed(0))
    np.testing.assert_array_equal(faces[:, 1], draw_codes(generator, codes))  # the middle: the face itself
    for face in faces:
        assert np.abs(face[0] - face[1]).max() > 0 and np.abs(face[2] - face[1]).max() > 0
    assert list(tmp_path.iterdir()) == [out]


def test_the_generator_of_a_file_is_asked_for_by_show(
    nameless: Path, named: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.safetensors"
    other: Generator = load_generator(nameless)
    save_directions(path, Directions({"x": Direction(torch.ones(16), "", "")}, other.card.fingerprint, "n"))
    refused(
        capsys, "show", path, "--generator", named, "--out", tmp_path / "x.png", says="belong to generator"
    )
    assert not (tmp_path / "x.png").exists()
