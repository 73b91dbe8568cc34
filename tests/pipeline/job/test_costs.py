"""Costs of stages are kept as jobs run; estimates follow them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.job.costs import Cost, CostBook, estimate, like, units_of
from pipeline.request.settings import InvertSettings, Settings
from pipeline.stages.plan import plan_of

PLAN = plan_of(Settings())


def cost(units: int, seconds: float, name: str = "a") -> Cost:
    return Cost(name, units, seconds, 100.0)


def test_nothing_measured_gives_no_estimate() -> None:
    assert estimate([], "a", 10) is None
    assert estimate([cost(10, 1.0, "b")], "a", 10) is None


def test_one_size_scales_with_the_units() -> None:
    found = estimate([cost(10, 2.0), cost(10, 4.0)], "a", 30)
    assert found is not None and found.seconds == pytest.approx(9.0) and found.runs == 2


@given(once=st.floats(0, 100), each=st.floats(0.001, 10), units=st.integers(1, 10_000))
def test_a_line_is_found_again(once: float, each: float, units: int) -> None:
    costs = [cost(n, once + each * n) for n in (8, 30, 300)]
    found = estimate(costs, "a", units)
    assert found is not None and found.seconds == pytest.approx(once + each * units, rel=1e-6, abs=1e-6)


@given(seconds=st.lists(st.floats(0, 100), min_size=1, max_size=30), units=st.integers(0, 1000))
def test_an_estimate_is_never_negative(seconds: list[float], units: int) -> None:
    found = estimate([cost(n + 1, s) for n, s in enumerate(seconds)], "a", units)
    assert found is not None and found.seconds >= 0


def test_the_book_is_bounded_and_bears_damage(tmp_path: Path) -> None:
    book, stage = CostBook(tmp_path / "cache"), PLAN["track"]
    assert book.read() == []
    for number in range(3):
        book.add(stage, Settings(), "cpu", 8, float(number), 1.0)
    with book.path.open("a") as file:
        file.write('{"like": 1\n[]\n{"strange": 2}\n')
    assert [c.seconds for c in book.read()] == [0.0, 1.0, 2.0]
    book.path.write_text((json.dumps({"like": "x" * 400}) + "\n") * 2000)
    book.add(stage, Settings(), "cpu", 8, 7.0, 1.0)
    assert book.path.stat().st_size < 500_000 and book.read()[-1].seconds == 7.0


@pytest.mark.parametrize("value", ['"x"', "NaN", "-1", "1e999", "null", "[1]"])
@pytest.mark.parametrize("name", ["units", "seconds", "mib"])
def test_costs_that_make_no_sense_are_left_out(tmp_path: Path, name: str, value: str) -> None:
    book = CostBook(tmp_path)
    values = {"like": '"a"', "units": "1", "seconds": "1.0", "mib": "1.0"}
    lines = [values, values | {name: value}, values]
    text = "\n".join("{" + ", ".join(f'"{k}": {v}' for k, v in line.items()) + "}" for line in lines)
    book.path.write_text(text)
    assert book.read() == [Cost("a", 1, 1.0, 1.0)] * 2


def test_a_book_that_is_no_text_or_a_pipe_stops_nothing(tmp_path: Path) -> None:
    book = CostBook(tmp_path)
    book.path.write_bytes(b"\xff\n" * 300_000)
    book.add(PLAN["track"], Settings(), "cpu", 8, 7.0, 1.0)
    assert [cost.seconds for cost in book.read()] == [7.0]
    book.path.unlink()
    os.mkfifo(book.path)
    book.add(PLAN["track"], Settings(), "cpu", 8, 7.0, 1.0)
    assert book.read() == []


def test_a_book_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    book = CostBook(tmp_path / "file")
    book.add(PLAN["track"], Settings(), "cpu", 8, 1.0, 1.0)
    assert book.read() == []


def test_steps_are_what_an_inversion_grows_with() -> None:
    invert, short = PLAN["invert"], Settings(invert=InvertSettings(steps=12))
    assert units_of(invert, short, 100) == 12
    assert units_of(invert, Settings(), 300) > units_of(invert, Settings(), 30) > 0
    assert units_of(PLAN["track"], Settings(), 9) == 9
    assert like(invert, short, "cpu") == like(invert, Settings(), "cpu")
    other = replace(Settings(), invert=InvertSettings(method="w"))
    assert like(invert, other, "cpu") != like(invert, Settings(), "cpu")


MEMORY = """
from pipeline.job.costs import PeakMemory

def held(mib):
    block = bytearray(mib << 20)
    block[::4096] = b"x" * len(block[::4096])
    return block

large = held(400)
peak = PeakMemory()
assert peak.mib > 400
del large
later = PeakMemory()
assert later.mib < peak.mib - 300, "what was held before does not count"
small = held(100)
later.sample()
del small
assert 100 < later.mib < peak.mib - 200
before = PeakMemory()
held(700)
assert before.mib > 700, "a new high-water mark is seen without a sample"
"""


def test_peak_memory_is_of_its_own_time() -> None:
    subprocess.run([sys.executable, "-c", MEMORY], check=True)
