"""One list of the settings that name files and folders of the user."""

from __future__ import annotations

from pathlib import Path

from pipeline.request.options import parse
from pipeline.request.paths import is_file, is_folder, path_fields, user_paths, with_paths
from pipeline.request.settings import Request, Settings

WORDS = ["a.mp4", "--generator", "g.pkl", "--detector", "3ddfa:m.onnx", "--cameras", "d.json"]
WORDS += ["--occluder-masks", "masks", "--directions", "x.npy", "--directions", "/y/z.pt"]


def test_which_settings_name_paths() -> None:
    options = {field.name for field in path_fields(Request(Path("a.mp4")))}
    settings = {"generator", "detector", "cameras", "occluder-masks", "face-masks", "directions"}
    settings |= {"encoder", "base-encoder", "face-network"}
    assert options == settings | {"out", "cache"}
    assert {field.name for field in path_fields(Settings())} == settings


def test_the_paths_of_settings_and_of_one_group() -> None:
    settings = parse(WORDS).settings
    found = [(named.option, str(named.path), named.folder) for named in user_paths(settings)]
    assert found == [
        ("--generator", "g.pkl", False),
        ("--detector", "m.onnx", False),
        ("--cameras", "d.json", False),
        ("--occluder-masks", "masks", True),
        ("--directions", "x.npy", False),
        ("--directions", "/y/z.pt", False),
    ]
    assert [str(named.path) for named in user_paths(settings.track)] == ["m.onnx"]
    assert user_paths(settings.encode) == []


def test_words_that_are_no_paths() -> None:
    assert user_paths(Settings()) == []
    assert [n.option for n in user_paths(parse(["a.mp4", "--cache", "s3://b/c"]))] == ["--out"]
    assert with_paths(Settings(), Path.absolute) == Settings()


def test_paths_are_made_absolute_and_nothing_else_is_touched() -> None:
    request = parse([*WORDS, "--cache", "c", "--edit", "smile=1"])
    absolute = with_paths(request, Path.absolute)
    here = Path.cwd()
    assert (absolute.out, absolute.cache) == (here / "out/a", here / "c")
    settings = absolute.settings
    assert settings.generator == str(here / "g.pkl") and settings.camera.labels == str(here / "d.json")
    assert settings.track.detector == f"3ddfa:{here / 'm.onnx'}"
    assert settings.edit.directions == (str(here / "x.npy"), "/y/z.pt")
    assert settings.edit.edits == request.settings.edit.edits
    assert with_paths(absolute, Path.absolute) == absolute


def test_names_that_no_file_can_have() -> None:
    for name in ("x" * 300, "a\0b", "x/" * 3000):
        assert not is_file(Path(name)) and not is_folder(Path(name))
    assert is_folder(Path("/")) and not is_file(Path("/"))
