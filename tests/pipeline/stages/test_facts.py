"""Inputs of cache keys that are files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.request.options import parse
from pipeline.request.settings import Settings
from pipeline.stages.facts import Facts


def test_an_encoder_of_two_files_is_known_by_both(tmp_path: Path) -> None:
    first, second = tmp_path / "encoder_FFHQ.pt", tmp_path / "afa_FFHQ.pt"
    settings = Settings()
    settings = replace(settings, invert=replace(settings.invert, method="goae", encoder=str(first)))
    models: Any = None

    def found() -> str | None:
        return Facts(tmp_path / "clip.mp4", settings, models).encoder

    seen = [found()]
    for path, content in ((first, b"1"), (second, b"1"), (second, b"2"), (first, b"2")):
        path.write_bytes(content)
        seen.append(found())
    assert len(set(seen)) == 5, seen
    alone = replace(settings, invert=replace(settings.invert, method="goae-w+"))
    wanted = Facts(tmp_path / "clip.mp4", alone, models).encoder
    second.unlink()
    assert wanted == found(), "the second file is not one of goae-w+"


def test_the_judge_is_known_where_a_fit_asks_it() -> None:
    def judge(words: str) -> dict[str, str]:
        return Facts(Path("clip.mp4"), parse(["clip.mp4", *words.split()], files=False).settings, None).judge

    assert set(judge("--inverter w+")) == {"judge"}
    assert judge("--inverter in-n-out") == judge("--inverter w+ --preset paper") == {}
    assert judge("--inverter e4e-mask") == {}
