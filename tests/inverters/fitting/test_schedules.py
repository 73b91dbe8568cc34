"""Schedules stay in range and begin and end where they should."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inverters.fitting.schedules import SCHEDULES, geometric, noise_ramp, smoothstep, warmup_cosine


@given(st.integers(1, 5000), st.data())
def test_factors_lie_in_the_unit_interval(steps: int, data: st.DataObject) -> None:
    step = data.draw(st.integers(0, steps - 1))
    for schedule in SCHEDULES.values():
        assert 0 <= schedule(step, steps) <= 1


def test_warmup_rises_and_the_end_falls_to_nothing() -> None:
    factors = [warmup_cosine(i, 200) for i in range(201)]
    assert factors[0] < factors[5] < factors[9] <= 1
    assert all(f == pytest.approx(1) for f in factors[10:150])
    assert factors[150:] == sorted(factors[150:], reverse=True)
    assert factors[200] == pytest.approx(0, abs=1e-9)


def test_geometric_meets_both_ends() -> None:
    assert geometric(0, 50, 1.0, 0.25) == 1.0
    assert geometric(49, 50, 1.0, 0.25) == pytest.approx(0.25)
    assert geometric(0, 1, 1.0, 0.25) == 1.0


@given(st.floats(-2, 3), st.floats(-2, 3))
def test_smoothstep_never_falls(a: float, b: float) -> None:
    low, high = sorted((a, b))
    assert 0 <= smoothstep(low) <= smoothstep(high) <= 1


@given(st.integers(1, 2000))
def test_noise_falls_as_a_square_and_ends_at_three_quarters(steps: int) -> None:
    ramp = [noise_ramp(i, steps) for i in range(steps + 1)]
    assert ramp[0] == 1 and ramp == sorted(ramp, reverse=True)
    assert all(left == 0 for i, left in enumerate(ramp) if i >= 0.75 * steps)
    assert noise_ramp(3 * steps, 8 * steps) == pytest.approx(0.25)
