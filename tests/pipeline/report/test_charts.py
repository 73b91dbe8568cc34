"""Charts: round marks inside the axis, powers of ten for losses, degrees for cameras, gaps kept."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.report.charts import MOST_POINTS, Chart, charts, round_step


def only(name: str, values: list[float | None]) -> Chart:
    (found,) = charts({name: values})
    return found


def test_losses_have_one_chart_for_each_phase_with_powers_of_ten() -> None:
    found = charts(
        {
            "losses/codes/colour": [1.0, 0.1, 0.02],
            "losses/codes/delta": [0.0, 0.0, 0.005],
            "losses/superresolution/image": [0.5, 0.05],
        }
    )
    assert [chart.title for chart in found] == ["Losses: codes", "Losses: super-resolution"]
    codes = found[0]
    assert codes.log and codes.x_title == "step"
    assert [(tick.text, tick.power, tick.place) for tick in codes.y_ticks] == [
        ("10", "−3", 0.0), ("10", "−2", pytest.approx(100 / 3)), ("10", "−1", pytest.approx(200 / 3)),
        ("10", "0", 100.0),
    ]  # fmt: skip
    assert [(line.name, line.last) for line in codes.series] == [("colour", "0.02"), ("delta", "0.005")]
    assert codes.series[0].pieces == ["0.0,0.0 500.0,333.3 1000.0,566.3"]
    assert codes.series[1].pieces == ["1000.0,767.0 1000.0,767.0"], "zero has no place on a logarithmic axis"


@pytest.mark.parametrize("values", [[1.0, -0.1], [0.0, 0.0], [0.5, 0.4], [-3.0, -2.0]])
def test_losses_without_decades_are_linear(values: list[float | None]) -> None:
    chart = only("losses/joint/entropy", values)
    assert not chart.log and all(not tick.power for tick in chart.y_ticks)


def test_marks_are_round_and_inside() -> None:
    chart = only("psnr/psnr", [18.64, 18.71, None, 18.09])
    assert [tick.text for tick in chart.y_ticks] == ["18.2", "18.4", "18.6"]
    assert [tick.text for tick in chart.x_ticks] == ["0", "1", "2", "3"]
    assert (chart.title, chart.y_title, chart.unit) == ("PSNR of the reconstruction", "PSNR", "dB")
    line = chart.series[0]
    assert (line.name, line.last, line.mean) == ("PSNR", "18.1 dB", "18.5 dB")
    assert len(line.pieces) == 2, "a frame without a value is a gap"


def test_cameras_are_in_degrees() -> None:
    chart = only("camera/yaw", [math.radians(-20), math.radians(20)])
    assert [tick.text for tick in chart.y_ticks] == ["−20", "−10", "0", "10", "20"]
    assert chart.series[0].last == "20°" and chart.unit == "°"


def test_a_constant_and_a_long_curve() -> None:
    flat = only("ssim/ssim", [0.75] * 3)
    assert flat.y_ticks and flat.series[0].pieces[0].split()[0] == "0.0,500.0"
    points = only("psnr/psnr", [float(i) for i in range(10 * MOST_POINTS)]).series[0].pieces[0].split()
    assert len(points) <= MOST_POINTS + 1 and points[-1].startswith("1000.0,")


def test_nothing_finite_is_no_chart() -> None:
    assert charts({"psnr/psnr": [None, math.nan, math.inf], "losses/a/b": []}) == []


@given(
    st.lists(st.one_of(st.none(), st.floats()), max_size=8),
    st.sampled_from(["losses/a/b", "camera/yaw", "x"]),
)
def test_any_numbers_give_marks_and_points_inside(values: list[float | None], name: str) -> None:
    for chart in charts({name: values}):
        for tick in (*chart.x_ticks, *chart.y_ticks):
            assert -1e-6 <= tick.place <= 100 + 1e-6
        for piece in chart.series[0].pieces:
            for point in piece.split():
                assert all(-0.1 <= float(part) <= 1000.1 for part in point.split(","))


@given(st.floats(1e-200, 1e200))
def test_round_steps(step: float) -> None:
    found = round_step(step)
    assert step * (1 - 1e-8) <= found <= 2.51 * step
    assert round(found / 10.0 ** math.floor(math.log10(found) + 1e-9), 6) in (1, 2, 5)
