"""Options beside a clip: they cannot reach out of its folder, nor be anything but options of that clip."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import UserError
from pipeline.request.options import parse, request_fields
from pipeline.request.paths import user_paths
from pipeline.watch.clip_settings import options_of, side_file


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    folder = tmp_path / "clips"
    folder.mkdir()
    path = folder / "a.mp4"
    path.touch()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "x.npy").touch()
    return path


def refused(clip: Path, text: str) -> str:
    """What is said of a side file with this text, in one line."""
    clip.with_suffix(".yaml").write_text(text)
    with pytest.raises(UserError) as error:
        options_of(clip)
    said = str(error.value)
    assert said.startswith("a.yaml: ") and "\n" not in said and len(said) < 400, said
    return said


OUTSIDE = ["../x", "/etc/passwd", "sub/../../x", "./../x", "..", "/", "link", "link/x.npy", "sub/../link"]


@pytest.mark.parametrize("target", OUTSIDE)
@pytest.mark.parametrize(
    "text",
    [
        "directions: '{}'",
        "directions: [a.npy, '{}']",
        "generator: '{}'",
        "cameras: '{}'",
        "occluder_masks: '{}'",
        "occluder-masks: '{}'",
        "detector: '3ddfa:{}'",
    ],
)
def test_no_path_leads_out_of_the_folder(clip: Path, text: str, target: str) -> None:
    (clip.parent / "sub").mkdir()
    (clip.parent / "link").symlink_to(clip.parent.parent / "outside")
    assert "in the clip's own folder" in refused(clip, text.format(target))


def test_a_folder_of_masks_holds_no_links_to_outside(clip: Path) -> None:
    masks = clip.parent / "masks"
    masks.mkdir()
    clip.with_suffix(".yaml").write_text("occluder_masks: masks")
    (masks / "0.png").touch()
    assert options_of(clip) == [f"--occluder-masks={masks.resolve()}"]
    (masks / "1.png").symlink_to(clip.parent.parent / "outside" / "x.npy")
    assert "in the clip's own folder" in refused(clip, "occluder_masks: masks")


@pytest.mark.parametrize(
    "name",
    [
        *("out", "cache", "json", "quiet", "debug", "submit", "threads", "print_settings", "settings"),
        *("video", "help", "input", "h", "version"),
    ],
)
def test_options_of_the_call_itself_are_not_taken(clip: Path, name: str) -> None:
    for value in ("/tmp/x", "true", "1", "[a]"):
        said = refused(clip, f"{name}: {value}")
        assert name in said and ("cannot be set there" in said or "unknown option" in said)


@pytest.mark.parametrize(
    "key",
    [
        *("ou", "o", "--out", "-o", "out=/x", "'out=/x': 1 #", "Out", "OUT", "direction", "gen", "? out"),
        *("--generator", "generator=/etc/x", "edit=x", "'': 1 #", "'--': 1 #", "'a b': 1 #", "'out\\n'"),
        *("settings.out", "' out '"),
    ],
)
def test_no_other_spelling_is_an_option(clip: Path, key: str) -> None:
    assert any(part in refused(clip, f"{key}: /x") for part in ("unknown option", "cannot"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("directions: a\ndirections: /etc/x", "twice"),
        ("occluder-masks: a\noccluder_masks: /etc/x", "twice"),
        ("generator: {bundled: /etc/x}", "must be a word"),
        ("edit: {a: 1}", "must be a word"),
        ("edit: [[a=1]]", "lists within lists"),
        ("<<: {generator: /etc/x}", "merge key"),
        ("a: &a /etc/x\ngenerator: *a", "anchors"),
        ("remove_ocluder: true", "did you mean 'remove_occluder'?"),
        ("- a", "must be a list of options"),
        ("edit: [", "cannot be read"),
        ("seed: x", "not a whole number"),
        ("preset: !!python/object/apply:os.system ['true']", "cannot be read"),
        ("generator: !!binary L2V0Yy94", "must be a word"),
        ("directions: 2020-01-01", "must be a word"),
        ('directions: "a\\0b"', "cannot be read"),
        ("preset: " + "[" * 3000, "lists within lists"),
        ("edit: [" + "a=1," * 200_000 + "]", "larger than"),
        ("h: true", "unknown option 'h'"),
        ("x" * 255 + ": 1", "unknown option 'xxx"),
        ("directions: " + "x" * 5000, "too long"),
    ],
)
def test_what_cannot_be_meant_is_one_line(clip: Path, text: str, says: str) -> None:
    assert says in refused(clip, text)


def test_names_as_long_as_they_can_be(clip: Path) -> None:
    long = clip.with_name("c" * 251 + ".mp4")
    long.touch()
    assert side_file(long) is None and options_of(long) == []
    clip.with_suffix(".yaml").write_text("directions: " + "d" * 255)
    assert options_of(clip) == [f"--directions={clip.parent.resolve() / ('d' * 255)}"]


def test_a_link_is_no_side_file(clip: Path) -> None:
    (clip.parent.parent / "outside" / "a.yaml").write_text("seed: 3")
    clip.with_suffix(".yaml").symlink_to(clip.parent.parent / "outside" / "a.yaml")
    assert options_of(clip) == []


def test_options_are_words_that_mean_the_same_anywhere(clip: Path) -> None:
    folder = clip.parent.resolve()
    clip.with_suffix(".yaml").write_text("directions: [x.npy, sub/y.pt, ~/z.npy]\nedit: x=1")
    wanted = [f"--directions={folder / name}" for name in ("x.npy", "sub/y.pt", "~/z.npy")]
    assert options_of(clip) == [*wanted, "--edit=x=1"]
    clip.with_suffix(".yaml").write_text(
        "edit: [smile=1.5, 'age=1@0-2s']\nremove-occluder: true\nsteady: false\nstitch: true\nseed: 0\n"
        "generator: bundled\ndetector: 3ddfa:m.onnx\nsmoothing_window: 2\nquality: '18'\n"
    )
    words = options_of(clip)
    assert words == [
        *("--edit=smile=1.5", "--edit=age=1@0-2s", "--remove-occluder", "--steady=false"),
        *("--stitch=weights", "--seed=0", "--generator=bundled", f"--detector=3ddfa:{folder / 'm.onnx'}"),
        *("--smoothing-window=2", "--quality=18"),
    ]
    over = parse([str(clip), "--seed=7", "--steady", *words]).settings
    assert over.invert.seed == 0 and not over.composite.steady and over.encode.quality == 18


def test_the_longer_name_is_a_side_file_too(clip: Path) -> None:
    clip.with_name("a.mp4.yaml").write_text("seed: 4")
    assert options_of(clip) == ["--seed=4"]


PIECES = st.sampled_from(
    [
        "..",
        ".",
        "/",
        "~",
        "link",
        "sub",
        "x.npy",
        "3ddfa:",
        "s3://",
        "bundled",
        "a.mp4",
        "\\",
        " ",
        "%2e%2e",
        "",
    ]
)
TARGETS = st.lists(PIECES, max_size=6).map("/".join) | st.lists(PIECES, max_size=6).map("".join)
KEYS = st.sampled_from([field.key for field in request_fields()] + ["out", "cache", "video", "direction"])
SPELLED = st.builds(
    lambda key, dash, tail: (key.replace("_", "-") if dash else key) + tail,
    KEYS,
    st.booleans(),
    st.sampled_from(["", "", "", "=x", " ", "s"]),
)
VALUES = TARGETS | st.lists(TARGETS, max_size=3) | st.booleans() | st.integers() | st.none()


@given(st.dictionaries(SPELLED, VALUES, max_size=4))
@settings(max_examples=300)
def test_whatever_is_written_no_path_leads_out(
    tmp_path_factory: pytest.TempPathFactory, mapping: dict[str, Any]
) -> None:
    root = tmp_path_factory.getbasetemp() / "anything"
    folder = root / "clips"
    (folder / "sub").mkdir(parents=True, exist_ok=True)
    if not (folder / "link").is_symlink():
        (folder / "link").symlink_to(root)
    clip = folder / "a.mp4"
    clip.touch()
    clip.with_suffix(".yaml").write_text(yaml.safe_dump(mapping))
    try:
        words = options_of(clip)
    except UserError as error:
        assert "\n" not in str(error)
        return
    request = parse([str(clip), *words])
    for named in user_paths(request.settings):
        assert named.path.resolve().is_relative_to(folder.resolve()), (named, words)
    assert request.cache is None and request.out == Path("out/a")
