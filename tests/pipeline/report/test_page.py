"""The report: one page that holds together whatever a manifest says, and says nothing that is not escaped."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import OutputError
from pipeline.report import page as report_module
from pipeline.report.page import report
from tests.pipeline.report.jobs import Job, make_job

VOID = {"meta", "link", "img", "input"}
MANIFEST = {
    "input": {"path": "clips/<b>me & you</b>.mp4", "width": 384},
    "settings": {
        "edit": {
            "edits": [{"name": "smile", "strength": 1.5, "start": 0.5, "stop": None}],
            "remove_occluder": True,
        },
        "invert": {"method": "in-n-out", "preset": "draft"},
    },
    "versions": {"python": "3.11"},
    "frames": {"total": 30, "edited": 28, "interpolated": 1, "passed_through": 2},
    "stages": [
        {"name": "decode", "seconds": 0.25, "cached": True},
        {"name": "invert", "seconds": 100.0, "cached": False},
    ],
    "metrics": {"reconstruction": {"psnr": 27.123, "ssim": 0.91, "lpips": None}},
    "per_frame": {"status": [0, 0, *[2] * 20, 1, *[2] * 7]},
    "outputs": {
        "edited": "edited.mp4",
        "comparison": "comparison.mp4",
        "report": "report.html",
        "removal": "removal.mkv",
    },
    "output_hashes": {"edited": "ab" * 32},
    "notes": ["the sound was encoded again <aac>"],
    "device": "cpu",
}
CURVES = {
    "losses/total": [1.0, 0.1, 0.01],
    "psnr/psnr": [20.0, None, 25.0, float("nan")],
    "camera/yaw": [0.1, -0.1],
}


class Checker(HTMLParser):
    """Tags that open and close in order; everything a page would load."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-1:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def out(tmp_path: Path) -> Path:
    for name in ("edited.mp4", "comparison.mp4", "removal.mkv"):
        (tmp_path / name).write_bytes(b"video " + name.encode())
    return tmp_path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Job:
    return make_job(tmp_path_factory.mktemp("made"))


@pytest.fixture
def job(made: Job, tmp_path: Path) -> Job:
    """A finished job in a folder of the test's own."""
    shutil.copytree(made.out, tmp_path / "job")
    return replace(made, out=tmp_path / "job")


def test_page_holds_everything(out: Path) -> None:
    path = report(MANIFEST, CURVES, out)
    assert path == out / "report.html"
    page = Checker(path.read_text(encoding="utf-8"))
    assert "<b>me & you</b>.mp4" in page.text  # as text, not as a tag
    assert "<b>me" not in path.read_text(encoding="utf-8")
    for words in (
        "27.12",
        "smile +1.5 (0.5 to the end)",
        "occluder removed",
        "in-n-out",
        "from cache",
        "again <aac>",
        "100.00 s",
        "ab" * 32,
    ):
        assert words in page.text
    assert "consent" in page.text.lower()
    assert sum(tag == "polyline" for tag, _ in page.tags) == 4  # the break in the PSNR makes two pieces
    assert "face lost for a short time: landmarks interpolated" in page.text
    assert "no face: frame passed through untouched" in page.text
    strip = [attrs for tag, attrs in page.tags if tag == "rect"]
    assert [(a["class"], a["x"], a["width"]) for a in strip] == [
        ("s0", "0", "2"), ("s2", "2", "20"), ("s1", "22", "1"), ("s2", "23", "7"),
    ]  # fmt: skip
    assert not list(out.glob(".*"))


def test_nothing_is_loaded_from_elsewhere(out: Path) -> None:
    page = Checker(report(MANIFEST, CURVES, out).read_text())
    videos = [attrs["src"] for tag, attrs in page.tags if tag == "video"]
    assert len(videos) == 2
    assert all(source and source.startswith("data:video/mp4;base64,") for source in videos)
    for tag, attrs in page.tags:
        assert tag not in {"script", "link", "iframe", "img"}  # nothing can be read, so there are no stills
        assert not any(name.startswith("on") for name in attrs)
        assert re.fullmatch(r"[\w.]+", attrs.get("href") or "x")


def test_stills_posters_and_one_script_are_inside_the_page(job: Job) -> None:
    page = Checker(report(job.manifest, CURVES, job.out, clip=job.clip, crops=job.crops).read_text())
    images = [attrs["src"] for tag, attrs in page.tags if tag == "img"]
    assert len(images) == 2 * 2 + 2 * len(job.clip)  # two looks of two sides, a strip of two rows
    posters = [attrs["poster"] for tag, attrs in page.tags if tag == "video"]
    assert len(posters) == 3
    for source in images + posters:
        assert source and source.startswith("data:image/jpeg;base64,")
    assert sum(len(source or "") for source in images + posters) < report_module.STILLS_LIMIT
    scripts = [attrs for tag, attrs in page.tags if tag == "script"]
    assert scripts == [{}]
    policy = next(attrs["content"] for tag, attrs in page.tags if "http-equiv" in attrs)
    assert policy and policy.startswith("default-src 'none'; img-src data:;")


def test_without_the_clip_there_are_posters_and_outputs_only(job: Job) -> None:
    text = report(job.manifest, CURVES, job.out).read_text()
    page = Checker(text)
    assert all(attrs["poster"] for tag, attrs in page.tags if tag == "video")
    alternatives = [attrs["alt"] for tag, attrs in page.tags if tag == "img"]
    assert len(alternatives) == len(job.clip)
    assert all(words and words.startswith("Output") for words in alternatives)
    assert "<h2>Before and after" not in text and not any(tag == "script" for tag, _ in page.tags)


def test_a_video_that_no_browser_plays_is_a_picture_with_a_link(job: Job) -> None:
    (job.out / "edited.mp4").rename(job.out / "edited.mkv")
    manifest = job.manifest | {"outputs": {"edited": "edited.mkv"}}
    page = Checker(report(manifest, CURVES, job.out, clip=job.clip).read_text())
    assert not any(tag == "video" for tag, _ in page.tags)
    assert {"class": "picture", "href": "edited.mkv"} in [attrs for tag, attrs in page.tags if tag == "a"]


def test_names_of_files_cannot_leave_their_attribute(out: Path) -> None:
    names = ['"onload="x.mp4', "javascript:alert(1).mp4", "a#b ?c.mkv", "<img>.mkv"]
    for name in names:
        (out / name).write_bytes(b"x")
    manifest = {"outputs": {name: name for name in names}}
    page = Checker(report(manifest, {}, out).read_text())
    links = [attrs["href"] for tag, attrs in page.tags if tag == "a"]
    assert sorted(links) == sorted(quote(name) for name in names)
    assert not any(tag == "img" or any(name.startswith("on") for name in attrs) for tag, attrs in page.tags)


def test_large_videos_are_linked(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_module, "EMBED_LIMIT", 20)
    page = Checker(report(MANIFEST, CURVES, out).read_text())
    assert [attrs["src"] for tag, attrs in page.tags if tag == "video"] == ["comparison.mp4", "edited.mp4"]


def test_files_outside_the_folder_are_not_shown(out: Path) -> None:
    (out.parent / "secret.mp4").write_bytes(b"secret")
    manifest = {
        **MANIFEST,
        "outputs": {"edited": "../secret.mp4", "view": str(out.parent / "secret.mp4"), "crops": "gone.mp4"},
    }
    assert "<video" not in report(manifest, {}, out).read_text()


text = st.text(max_size=12)
leaf = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), text)
tree = st.recursive(
    leaf, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3), max_leaves=8
)


@settings(max_examples=30)
@given(
    settings_=st.dictionaries(text, tree, max_size=4),
    versions=st.dictionaries(text, text, max_size=3),
    name=text,
    status=st.lists(st.integers(0, 2), max_size=20),
    curves=st.dictionaries(text, st.lists(st.one_of(st.none(), st.floats(width=32)), max_size=8), max_size=4),
)
def test_any_manifest_gives_a_whole_page(
    settings_: dict,
    versions: dict,
    name: str,
    status: list[int],
    curves: dict,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    out = tmp_path_factory.mktemp("r")
    manifest = {
        "input": {"path": name},
        "settings": settings_,
        "versions": versions,
        "per_frame": {"status": status},
    }
    page = report(manifest, curves, out).read_text(encoding="utf-8", errors="surrogatepass")
    found = Checker(page)
    assert {tag for tag, _ in found.tags} <= {
        "html", "head", "meta", "title", "style", "noscript", "body", "main", "header", "h1", "h2", "h3", "p",
        "section", "div", "dl", "dd", "dt", "ul", "li", "small", "b", "em", "sup", "table", "tr", "th", "td",
        "figure", "figcaption", "svg", "rect", "line", "polyline", "span", "i", "footer", "strong", "details",
        "summary",
    }  # fmt: skip
    assert "nan" not in "".join(attrs.get("points") or "" for _, attrs in found.tags)


@settings(max_examples=60)
@given(manifest=st.dictionaries(st.sampled_from([*MANIFEST, "generator"]), tree, max_size=6))
def test_values_of_any_type_give_a_whole_page(
    manifest: dict, tmp_path_factory: pytest.TempPathFactory
) -> None:
    Checker(report(manifest, {}, tmp_path_factory.mktemp("r")).read_text(encoding="utf-8"))


def test_a_name_that_is_not_utf8_is_shown_with_its_gaps(tmp_path: Path) -> None:
    page = report({"input": {"path": "caf\udce9.mp4"}}, {}, tmp_path).read_text(encoding="utf-8")
    assert "<h1>caf?.mp4</h1>" in page


def test_empty_manifest_and_unwritable_folder(tmp_path: Path) -> None:
    Checker(report({}, {}, tmp_path).read_text())
    with pytest.raises(OutputError, match="--out"):
        report({}, {}, tmp_path / "missing")
