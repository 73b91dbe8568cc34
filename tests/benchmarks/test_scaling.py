"""The simulation of many clips on many machines: each clip comes to one end, and time is counted right."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.scaling import DAY, HOUR, Clip, Farm, Rules, Troubles, clips_of, line

STAGES = ("decode", "track", "align", "camera", "invert", "finetune", "edit", "composite", "encode", "report")


def lines(seconds: float = 10.0) -> dict[str, Any]:
    once = {name: {"job": seconds, "frame": 0.01} for name in STAGES}
    return {"line": once, "cached": {name: {"job": 0.1, "frame": 0.0} for name in STAGES}}


def farm(troubles: Troubles, seed: int = 0, clips: int = 200, machines: int = 3, workers: int = 2) -> Farm:
    return Farm(clips_of(clips, lines(), troubles, seed), machines, workers, Rules(), troubles, seed)


TROUBLES = st.builds(
    Troubles,
    kill=st.sampled_from([0.0, 300.0, HOUR]),
    death=st.sampled_from([0.0, HOUR, DAY]),
    down=st.sampled_from([10.0, 600.0]),
    restart=st.sampled_from([0.0, HOUR, DAY]),
    server=st.sampled_from([0.0, HOUR]),
    server_down=st.sampled_from([10.0, 300.0]),
    bad=st.sampled_from([0.0, 0.2]),
    poison=st.sampled_from([0.0, 0.2]),
)


@settings(max_examples=40)
@given(TROUBLES, st.integers(0, 9))
def test_every_clip_comes_to_one_end(troubles: Troubles, seed: int) -> None:
    one = farm(troubles, seed)
    found = one.run()
    assert found["done"] + found["refused"] + found["given_up"] == len(one.clips)
    for clip in one.clips:
        given_up = clip.outcome == "given up" and clip.lives > Rules().most_runs
        assert clip.fate != "poison" or clip.outcome == "given up"
        assert clip.fate != "bad" or clip.outcome == "refused" or given_up, (
            "its runs died before they refused"
        )
        assert clip.lives <= Rules().most_runs + 1
        assert clip.finished <= one.now
    assert 0 < found["busy_share"] <= 1
    assert farm(troubles, seed).run() == found, "the same seed tells the same story"


@settings(max_examples=60)
@given(st.lists(st.floats(0.0, 500.0), min_size=1, max_size=8), st.data())
def test_a_death_costs_a_checkpoint_or_a_stage(positions: list[float], data: st.DataObject) -> None:
    seconds = data.draw(st.lists(st.floats(0.1, 100.0), min_size=10, max_size=10))
    ends = [sum(seconds[: k + 1]) for k in range(10)]
    resumed = [name in ("invert", "finetune") for name in STAGES]
    clip = Clip(ends, resumed, 0.0)
    longest = max(20.0, *(s for s, keeps in zip(seconds, resumed, strict=True) if not keeps))
    for step in positions:
        before = clip.saved
        position = min(before + step, clip.work)
        lost = clip.keep(position, 20.0)
        assert before <= clip.saved <= position
        assert 0 <= lost <= longest + 1e-6 and lost == pytest.approx(position - clip.saved)


def test_without_troubles_workers_are_never_idle_beside_a_queue() -> None:
    """Graham's bound for any order of jobs that leaves no worker idle."""
    one = farm(Troubles())
    found = one.run()
    rules = one.rules
    each = [clip.work + rules.start + rules.poll for clip in one.clips]
    wall = found["hours"] * HOUR
    assert found["lost_share"] == 0 and found["done"] == len(one.clips)
    assert sum(clip.work for clip in one.clips) / 6 <= wall <= sum(each) / 6 + max(each) + HOUR / 100


def test_more_trouble_costs_more_and_more_workers_less() -> None:
    calm, rough = farm(Troubles()).run(), farm(Troubles(kill=1800.0, death=DAY / 4)).run()
    assert rough["hours"] > calm["hours"] and rough["lost_share"] > 0 and rough["deaths"] > 0
    wide = replace(farm(Troubles()), machines=6).run()
    assert wide["hours"] < calm["hours"]


def test_a_line_goes_through_its_points() -> None:
    found = line([24, 48, 96], [10 + 0.5 * n for n in (24, 48, 96)])
    assert found == {"job": pytest.approx(10), "frame": pytest.approx(0.5)}
    assert line([1, 2, 3], [3.0, 2.0, 1.0])["frame"] == 0
