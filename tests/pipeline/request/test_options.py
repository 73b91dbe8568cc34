"""Requests from words, mappings and files, and back; what cannot be read is one line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import UserError
from pipeline.request import Request, Settings
from pipeline.request.edits import Edit, View
from pipeline.request.options import HelpShown, from_mapping, parse, request_fields, to_mapping, to_words
from pipeline.request.settings_file import read_settings, settings_text
from tests.pipeline.request.requests import requests

CLIP = Path("clip.mp4")
ROOT = Path(__file__).parents[3]


def told(*words: str) -> dict[str, Any]:
    """The options that the words give."""
    return to_mapping(parse(words))


def one_line(error: pytest.ExceptionInfo[UserError], *parts: str) -> None:
    text = str(error.value)
    assert "\n" not in text and len(text) < 500, text
    for part in parts:
        assert part in text, text


@given(requests())
@settings(max_examples=200)
def test_a_mapping_is_read_back(request: Request) -> None:
    mapping = to_mapping(request)
    assert from_mapping(mapping, "x", Request(CLIP)) == request
    assert from_mapping(json.loads(json.dumps(mapping)), "x", Request(CLIP)) == request


@given(requests())
@settings(max_examples=50)
def test_what_print_settings_prints_is_read_back(tmp_path_factory: Any, request: Request) -> None:
    file = tmp_path_factory.mktemp("s") / "job.yaml"
    file.write_text(settings_text(to_mapping(request)), encoding="utf-8")
    assert from_mapping(read_settings(file), "x", Request(CLIP)) == request
    assert parse([str(CLIP), f"--settings={file}"]) == request


@given(requests())
@settings(max_examples=50)
def test_a_mapping_as_words_is_the_same_request(request: Request) -> None:
    assert parse(["clip.mp4", *to_words(to_mapping(request))]) == request


def test_nothing_given_is_nothing_told() -> None:
    assert parse(["clip.mp4"]) == Request(CLIP) and told("clip.mp4") == {}
    assert Request(CLIP).out == Path("out/clip") and Request(CLIP).settings == Settings()
    assert told("clip.mp4", "--preset", "draft") == {"preset": "draft"}  # asked for, though it is the default
    assert told("clip.mp4", "--out", ".") == {"out": "."}
    assert told("clip.mp4", "--seed=0", "--steady=false") == {}


def test_words_make_typed_settings() -> None:
    request = parse(
        [
            *("a.mp4", "--edit", "smile=1.5", "--edit=age=-1@0.5-s", "--view", "orbit"),
            *("--no-latent-reg", "--no-entropy", "--finetune-steps", "0", "--threads", "2"),
            *("--cache", "s3://b/c", "--cameras", "d.json"),
        ]
    )
    chosen = request.settings
    assert chosen.edit.edits == (Edit("smile", 1.5), Edit("age", -1.0, 0.5, None))
    assert chosen.edit.view == View(orbit=True) and not chosen.finetune.enabled
    assert chosen.invert.recipe == "draft/no-entropy/no-latent-reg" and chosen.camera.labels == "d.json"
    assert request.cache == "s3://b/c" and request.threads == 2 and not request.preset_chosen
    assert parse(["a.mp4", "--cache", "b/c"]).cache == Path("b/c")


@pytest.mark.parametrize(
    ("words", "stitch"),
    [
        (["--stitch", "a.mp4"], "weights"),
        (["--stitch", "codes", "a.mp4"], "codes"),
        (["a.mp4", "--stitch"], "weights"),
        (["a.mp4", "--stitch", "codes"], "codes"),
        (["a.mp4", "--stitch", "poisson"], "poisson"),
        (["--stitch=codes", "a.mp4"], "codes"),
        (["a.mp4", "--stitch", "--steady"], "weights"),
        (["--stitch", "--", "a.mp4"], "weights"),
    ],
)
def test_the_clip_is_not_taken_for_the_way_to_stitch(words: list[str], stitch: str) -> None:
    request = parse(words)
    assert request.video == Path("a.mp4") and request.settings.composite.stitch == stitch


@pytest.mark.parametrize(
    ("words", "deployment"),
    [
        (["--submit", "a.mp4"], "process-video/default"),
        (["--out", "o", "--submit", "a.mp4"], "process-video/default"),
        (["a.mp4", "--submit"], "process-video/default"),
        (["a.mp4", "--submit", "mine/gpu"], "mine/gpu"),
        (["--submit=mine/gpu", "a.mp4"], "mine/gpu"),
    ],
)
def test_the_clip_is_not_taken_for_a_deployment(words: list[str], deployment: str) -> None:
    request = parse(words)
    assert (request.video, request.submit) == (Path("a.mp4"), deployment)


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ([], ("needs VIDEO",)),
        (["a", "b"], ("'b' is one word too many",)),
        (["--submit", "mine/gpu", "a.mp4"], ("'a.mp4' is one word too many", "--OPTION=VALUE")),
        (["a", "--remove-occlude"], ("unknown option --remove-occlude", "--remove-occluder")),
        (["a", "--rem"], ("unknown option --rem",)),
        (["a", "--no-steady"], ("unknown option --no-steady",)),
        (["a", "--edit.name", "x"], ("unknown option",)),
        (["a", "-x"], ("unknown option -x",)),
        (["a", "--edit"], ("--edit needs a value",)),
        (["a", "--steps", "1.5"], ("--steps: '1.5' is not a whole number",)),
        (["a", "--steps", "none"], ("--steps", "not a whole number")),
        (["a", "--steps="], ("--steps", "not a whole number")),
        (["a", "--seed", "9" * 5000], ("--seed", "not a whole number")),
        (["a", "--smoothing-window", "nan"], ("--smoothing-window", "finite")),
        (["a", "--quiet=perhaps"], ("--quiet", "perhaps")),
        (["a", "--threads", "0"], ("--threads must be 1 or more, not 0",)),
        (["a", "--edit", "smile"], ("--edit 'smile' cannot be read",)),
        (["a", "--settings", "nothing.yaml"], ("nothing.yaml: cannot be read",)),
        (["a", "--settings", "."], ("cannot be read",)),
    ],
)
def test_words_that_cannot_be_read_are_one_line(words: list[str], parts: tuple[str, ...]) -> None:
    with pytest.raises(UserError) as error:
        parse(words)
    one_line(error, *parts)


def test_a_name_is_never_cut_short() -> None:
    names = {field.name for field in request_fields()}
    for name in names:
        for short in (name[:-1], name[:4]):
            if short not in names:
                with pytest.raises(UserError, match="unknown option"):
                    parse(["a.mp4", f"--{short}=1"])


def test_the_last_of_several_counts_and_lists_grow() -> None:
    assert told("a", "--seed", "1", "--seed=2", "--edit", "x=1", "--edit", "y=2")["seed"] == 2
    assert told("a", "--edit", "x=1", "--edit", "y=2")["edit"] == ["x=1.0", "y=2.0"]


def test_the_command_line_counts_more_than_the_file(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text("edit: [smile=1, age=1]\nremove-occluder: true\npreset: fast\nstitch: true\nout: there\n")
    request = parse(["a.mp4", "--settings", str(file)])
    assert request.preset_chosen and request.settings.invert.preset == "fast" and request.out == Path("there")
    assert request.settings.composite.stitch == "weights" and request.settings.edit.remove_occluder
    over = ["--edit=glasses=1", "--remove-occluder=false", "--preset=draft", "--out=here"]
    assert told("a.mp4", f"--settings={file}", *over) == {
        "edit": ["glasses=1.0"],
        "preset": "draft",
        "stitch": "weights",
        "out": "here",
    }
    (tmp_path / "job.json").write_text(json.dumps(to_mapping(request)))
    assert parse(["a.mp4", f"--settings={tmp_path / 'job.json'}"]) == request


def test_print_settings_prints_a_settings_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(HelpShown):
        parse(["a.mp4", "--edit", "smile=1.5", "--preset", "draft", "--steady", "--print-settings"])
    text = capsys.readouterr().out
    assert text == "edit:\n- smile=1.5\nsteady: true\npreset: draft\n"
    with pytest.raises(HelpShown):
        parse(["a.mp4", "--print-settings"])
    (tmp_path / "none.yaml").write_text(capsys.readouterr().out)
    assert parse(["a.mp4", f"--settings={tmp_path / 'none.yaml'}"]) == Request(Path("a.mp4"))


@pytest.mark.parametrize(
    ("mapping", "parts"),
    [
        ({"remove_ocluder": True}, ("unknown option 'remove_ocluder'", "did you mean 'remove_occluder'")),
        ({"h": True}, ("unknown option 'h'",)),
        ({"settings": "x.yaml"}, ("unknown option 'settings'",)),
        ({"video": "x"}, ("unknown option 'video'",)),
        ({"edit=x": 1}, ("unknown option 'edit=x'", "'edit'")),
        ({"--edit": "x=1"}, ("unknown option '--edit'",)),
        ({3: 4}, ("unknown option '3'",)),
        ({None: 4}, ("unknown option",)),
        ({"x" * 100_000: 1}, ("unknown option 'xxx",)),
        ({"occluder-masks": "a", "occluder_masks": "b"}, ("'occluder_masks' is given twice",)),
        ({"seed": True}, ("'seed'", "not true")),
        ({"seed": None}, ("'seed'", "not null")),
        ({"seed": [1]}, ("'seed'",)),
        ({"seed": 1.0}, ("not a whole number",)),
        ({"steady": "yes"}, ("'steady' is true or false",)),
        ({"edit": {"smile": 1}}, ("'edit'", "or a list")),
        ({"edit": ["smile=1"] * 2000}, ("2000 values",)),
        ({"edit": [["smile=1"]]}, ("'edit'",)),
        ({"generator": "x" * 5000}, ("too long",)),
        ({"generator": "a\0b"}, ("NUL",)),
        ({"threads": 0}, ("--threads must be 1 or more",)),
        ({"smoothing_window": float("nan")}, ("finite",)),
    ],
)
def test_mappings_that_cannot_be_read_are_one_line(mapping: Any, parts: tuple[str, ...]) -> None:
    with pytest.raises(UserError) as error:
        from_mapping(mapping, "job.yaml", Request(CLIP))
    one_line(error, "job.yaml: ", *parts)


ANYTHING = st.text(max_size=40) | st.integers() | st.none()


@given(st.dictionaries(ANYTHING, ANYTHING))
def test_any_mapping_is_a_request_or_one_line(mapping: Any) -> None:
    try:
        assert from_mapping(mapping, "x", Request(CLIP)).video == CLIP
    except UserError as error:
        assert len(str(error)) < 700 and "\n" not in str(error)


@pytest.mark.parametrize("words", [["--help"], ["a.mp4", "-h"]])
def test_help_is_printed_and_ends_it(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(HelpShown):
        parse(words)
    assert "--remove-occluder" in capsys.readouterr().out


def test_words_are_read_where_pydantic_is_loaded_too() -> None:
    """Prefect loads it, and cyclopts then validates what it is given, defaults included."""
    code = (
        "import pydantic\nfrom pathlib import Path\nfrom pipeline.request.options import parse, to_mapping\n"
        "words = ['a.mp4', '--edit', 'x=1', '--steps', '3', '--cache', 'c', '--stitch', '--threads=2']\n"
        "request = parse(words)\n"
        "assert request.video == Path('a.mp4') and len(to_mapping(request)) == 5, request\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_importing_requests_is_light() -> None:
    code = (
        "import sys, pipeline.request, pipeline.request.options, pipeline.request.paths\n"
        "heavy = {'torch', 'prefect', 'numpy', 'cv2', 'av', 'zarr', 'mediapipe', 'cyclopts', 'rich'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "pipeline.request.options.parse(['a.mp4', '--edit', 'smile=1'])\n"
        "heavy -= {'cyclopts'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
