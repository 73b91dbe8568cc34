"""The report in a real browser: nothing is missing, the slider moves, videos play, layouts fit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pipeline.report import page as page_module
from pipeline.report.page import report
from tests.pipeline.report import chromium
from tests.pipeline.report.chromium import Browser
from tests.pipeline.report.jobs import GROUND, MOUTH, SKIN, Job, make_job

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(chromium.PROGRAM is None, reason="needs Chromium (Debian's package chromium)"),
]

CURVES = {
    "losses/joint/colour": [float(10.0 ** (-i / 40)) for i in range(120)],
    "psnr/psnr": [None, 20.0, 21.0, 22.0, None, 23.0, 22.0, 24.0],
    "camera/yaw": [0.1 * i for i in range(8)],
}


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    made = make_job(tmp_path_factory.mktemp("made"))
    report(made.manifest, CURVES, made.out, clip=made.clip, crops=made.crops)
    return made


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as running:
        yield running


@pytest.fixture
def shown(browser: Browser, job: Job) -> Browser:
    browser.shape(1280, 900)
    browser.open(job.out / "report.html")
    return browser


def is_near(pixel: np.ndarray, color: tuple[int, int, int]) -> bool:
    return bool(np.abs(pixel.astype(int) - color).max() < 30)


def test_nothing_is_missing_and_nothing_is_asked_for(shown: Browser, job: Job) -> None:
    sizes = shown.evaluate("[...document.images].map(i => [i.complete, i.naturalWidth, i.naturalHeight])")
    assert len(sizes) == 4 + 2 * len(job.clip)
    assert all(done and width > 0 and height > 0 for done, width, height in sizes)
    assert all(shown.evaluate("[...document.querySelectorAll('video')].map(v => v.poster.length > 500)"))
    assert shown.requests() == [(job.out / "report.html").as_uri()]
    assert shown.complaints() == []


def test_the_slider_moves_what_is_visible(shown: Browser) -> None:
    box = shown.evaluate(
        "JSON.parse(JSON.stringify(document.querySelector('.viewer').getBoundingClientRect()))"
    )
    mouth = (0.615, 0.65)  # in frame 5: 10 to 50 pixels from the face's left edge at 70, rows 85 to 105

    def drag_to(share: float) -> np.ndarray:
        x, y = box["x"] + share * box["width"], box["y"] + 0.5 * box["height"]
        for kind in ("mousePressed", "mouseReleased"):
            shown.command(
                "Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1
            )
        picture = shown.picture(".viewer")
        line = picture[picture.shape[0] // 2, round(share * picture.shape[1])]
        assert is_near(line, (255, 255, 255)), "the line is not where the mouse is"
        return picture[int(mouth[1] * picture.shape[0]), int(mouth[0] * picture.shape[1])]

    assert is_near(drag_to(0.2), MOUTH)
    assert is_near(drag_to(0.9), SKIN)
    shown.evaluate("document.querySelector('.viewer input').focus()")
    for _ in range(3):
        for kind in ("rawKeyDown", "keyUp"):
            shown.command(
                "Input.dispatchKeyEvent", type=kind, key="Home", code="Home", windowsVirtualKeyCode=36
            )
    assert shown.evaluate("document.querySelector('.viewer input').value") == "0"
    picture = shown.picture(".viewer")
    assert is_near(picture[-5, 40], GROUND)
    assert shown.complaints() == []


def test_without_scripts_both_sides_are_shown(browser: Browser, job: Job) -> None:
    browser.shape(1280, 900)
    browser.command("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(job.out / "report.html")
        picture = browser.picture(".viewer")
    finally:
        browser.command("Emulation.setScriptExecutionDisabled", value=False)
    height, width = picture.shape[:2]
    row, column = int(0.65 * height), int(0.615 * width / 2)
    assert width > 2 * height
    assert is_near(picture[row, column], SKIN)
    assert is_near(picture[row, width // 2 + column], MOUTH)


@pytest.mark.parametrize("embedded", [True, False])
def test_videos_play(browser: Browser, job: Job, embedded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not embedded:
        monkeypatch.setattr(page_module, "EMBED_LIMIT", 20)
    name = "report.html" if embedded else "linked.html"
    path = report(job.manifest, CURVES, job.out, clip=job.clip, name=name, crops=job.crops)
    browser.open(path)
    assert browser.evaluate("document.querySelector('video').src").startswith(
        "data:" if embedded else "file:"
    )
    times = browser.evaluate(
        """Promise.all([...document.querySelectorAll('video')].map(async video => {
             video.muted = true;
             await video.play();
             for (let k = 0; k < 100 && video.currentTime < 0.1; k++)
               await new Promise(done => setTimeout(done, 50));
             return video.currentTime;
           }))"""
    )
    assert len(times) == 3 and all(seconds > 0 for seconds in times)
    assert browser.complaints() == []


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [320, 390, 820, 1280, 2000])
def test_every_layout_fits(browser: Browser, job: Job, width: int, dark: bool) -> None:
    browser.shape(width, 800, dark)
    browser.open(job.out / "report.html")
    browser.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    paper = browser.evaluate("getComputedStyle(document.body).backgroundColor")
    light = [int(v) for v in paper.removeprefix("rgb(").rstrip(")").split(",")]
    assert (max(light) < 60) if dark else (min(light) > 200)
    outside = browser.evaluate(
        """[...document.querySelectorAll('.plot span, .scale span, .scale em, figcaption, .legend li')]
             .map(e => [e.textContent, e.getBoundingClientRect()])
             .filter(([text, box]) => box.left < 0 || box.right > innerWidth + 1)
             .map(([text]) => text)"""
    )
    assert outside == []
    assert browser.complaints() == []


def test_hostile_names_run_nothing(browser: Browser, job: Job, tmp_path: Path) -> None:
    evil = '"><img src=x onerror="console.error(1)"><script>console.error(2)</script>'
    manifest = {
        "input": {"path": evil},
        "notes": [evil],
        "settings": {evil: {evil: evil}, "edit": {"edits": [{"name": evil, "strength": evil}]}},
        "versions": {evil: evil},
        "stages": [{"name": evil, "seconds": float("nan")}],
        "outputs": {evil: evil},
    }
    browser.open(report(manifest, {evil: [1.0, 2.0], f"losses/{evil}": [1.0]}, tmp_path))
    assert browser.complaints() == [] and len(browser.requests()) == 1
    assert browser.evaluate("document.images.length") == 0
