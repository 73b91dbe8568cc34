"""Charts of a report: axes with round tick marks, and curves as points of an SVG polyline."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.report.values import finite, number_text

SIZE = 1000
"""Width and height of a chart's SVG coordinates; the page stretches them to the size on the screen."""

MOST_POINTS = 1000
"""Points drawn of one curve; longer ones are thinned evenly."""

_PHASES = {"codes": "codes", "joint": "both fields", "superresolution": "super-resolution"}
_TITLES = {
    "quality": "Reconstruction",
    "psnr": "PSNR of the reconstruction",
    "ssim": "SSIM of the reconstruction",
    "lpips": "LPIPS of the reconstruction",
    "camera": "Camera angles",
}
_Y_AXES = {
    "psnr": ("PSNR", "dB"),
    "ssim": ("SSIM, 1 where equal", ""),
    "lpips": ("LPIPS, 0 where equal", ""),
    "camera": ("angle", "°"),
}
_NARROW = 10**0.5
"""Losses whose largest and smallest value have at most this ratio keep a linear axis."""
_HUGE = 1e300
"""Values from here on are left out: differences between them overflow."""

Values = Sequence[float | None]


@dataclass(frozen=True)
class Tick:
    """A tick mark: its place in per cent of the axis; its label is `text`, or `text` to the power `power`."""

    place: float
    text: str
    power: str = ""


@dataclass(frozen=True)
class Series:
    """One curve: its unbroken pieces as SVG points, and its last value and mean as text."""

    name: str
    color: int
    last: str
    mean: str
    pieces: list[str]


@dataclass(frozen=True)
class Chart:
    """One chart as the template draws it."""

    title: str
    x_title: str
    y_title: str
    unit: str
    log: bool
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    series: list[Series] = field(default_factory=list)


def charts(curves: Mapping[str, Values]) -> list[Chart]:
    """Charts of curves named "chart/series" or "chart/phase/series", in the order given.

    Losses have one chart for each phase of the optimisation, camera angles are given in radians and shown in
    degrees. Charts without a finite value are left out.
    """
    groups: dict[str, dict[str, Values]] = {}
    for key, values in curves.items():
        chart, _, series = key.rpartition("/")
        groups.setdefault(chart or series, {})[series or chart] = values
    return [drawn for name, lines in groups.items() if (drawn := _chart(name, lines))]


def _chart(name: str, lines: Mapping[str, Values]) -> Chart | None:
    kind, _, phase = name.partition("/")
    scale = 180.0 / math.pi if kind == "camera" else 1.0
    shown = {key: [_scaled(value, scale) for value in values] for key, values in lines.items()}
    flat = [value for values in shown.values() for value in values if value is not None]
    if not flat:
        return None
    is_loss = kind == "losses"
    positive = [value for value in flat if value > 0]
    log = is_loss and min(flat) >= 0 and bool(positive) and max(positive) > _NARROW * min(positive)
    y_axis = _LogAxis(min(positive), max(positive)) if log else _LinearAxis(min(flat), max(flat))
    longest = max(len(values) for values in shown.values())
    x_axis = _LinearAxis(0, max(longest - 1, 1), whole=True)
    y_title, unit = ("loss", "") if is_loss else _Y_AXES.get(kind, ("", ""))
    title = f"Losses: {_PHASES.get(phase, phase)}" if is_loss and phase else _title(kind, phase)
    series = [_series(key, k, values, x_axis, y_axis, unit) for k, (key, values) in enumerate(shown.items())]
    x_title = "step" if is_loss else "frame"
    return Chart(title, x_title, y_title, unit, log, x_axis.ticks(6), y_axis.ticks(5), series)


def _title(kind: str, phase: str) -> str:
    name = _TITLES.get(kind) or ("Losses" if kind == "losses" else kind.replace("_", " ").capitalize())
    return f"{name}: {phase}" if phase else name


def _scaled(value: float | None, scale: float) -> float | None:
    number = finite(value)
    return None if number is None or abs(number) >= _HUGE else number * scale


def _series(
    name: str, color: int, values: Values, x_axis: _LinearAxis, y_axis: _LinearAxis | _LogAxis, unit: str
) -> Series:
    known = [value for value in values if value is not None]
    last = number_text(known[-1], 3) if known else number_text(None)
    mean = number_text(sum(value / len(known) for value in known), 3) if known else number_text(None)
    gap = "" if unit == "°" else " "
    ending = f"{gap}{unit}" if unit and known else ""
    places = [None if value is None else y_axis.place(value) for value in values]
    points = [None if place is None else (x_axis.place(i), place) for i, place in enumerate(places)]
    pieces = [" ".join(f"{SIZE * x:.1f},{SIZE * (1 - y):.1f}" for x, y in piece) for piece in _pieces(points)]
    shown = name.upper() if name in _Y_AXES and name != "camera" else name
    return Series(shown, color % 8, _signed(last + ending), _signed(mean + ending), pieces)


def _pieces(points: Sequence[tuple[float, float] | None]) -> Iterator[list[tuple[float, float]]]:
    """Runs of points without a gap, thinned to MOST_POINTS; a single point is doubled so that it is drawn."""
    step = max(1, math.ceil(len(points) / MOST_POINTS))
    run: list[tuple[float, float]] = []
    for i, point in enumerate([*points, None]):
        if point is None:
            if run:
                yield run if len(run) > 1 else run * 2
            run = []
        elif i % step == 0 or i == len(points) - 1 or not run:
            run.append(point)


class _LinearAxis:
    """A linear axis a little wider than its values (whole: exactly as wide, with ticks at whole numbers)."""

    def __init__(self, low: float, high: float, whole: bool = False) -> None:
        self._whole = whole
        if not whole:
            spread = high - low
            if spread <= 1e-9 * max(1.0, abs(high)):
                spread = max(0.5, abs(high) / 1000)
            low, high = low - 0.05 * spread, high + 0.05 * spread
        self._low, self._span = low, high - low

    def place(self, value: float) -> float:
        """Where a value lies, from 0 to 1."""
        return (value - self._low) / self._span

    def ticks(self, most: int) -> list[Tick]:
        """At most about `most` marks at multiples of 1, 2 or 5 times a power of ten."""
        step = round_step(self._span / most)
        if self._whole:
            step = max(1.0, step)
        first = math.ceil(self._low / step)
        digits = max(0, -math.floor(math.log10(step) + 1e-9))
        found = []
        for k in range(first, first + 3 * most):
            place = self.place(k * step)
            if place > 1 + 1e-9:
                break
            found.append(Tick(100 * place, _tick_text(k * step, step, digits)))
        return found


class _LogAxis:
    """A logarithmic axis over whole decades."""

    def __init__(self, low: float, high: float) -> None:
        self._low = math.floor(math.log10(low) + 1e-9)
        self._high = max(math.ceil(math.log10(high) - 1e-9), self._low + 1)

    def place(self, value: float) -> float | None:
        """Where a value lies, from 0 to 1; None for zero."""
        return (math.log10(value) - self._low) / (self._high - self._low) if value > 0 else None

    def ticks(self, most: int) -> list[Tick]:
        """Powers of ten, at most about `most` of them."""
        span = self._high - self._low
        step = max(1, math.ceil(span / most))
        return [
            Tick(100 * k / span, "10", str(self._low + k).replace("-", "−")) for k in range(0, span + 1, step)
        ]


def round_step(step: float) -> float:
    """The smallest of 1, 2, 5 times a power of ten that is not below `step` > 0."""
    power = math.floor(math.log10(step))
    for factor in (1, 2, 5):
        if factor * 10.0**power >= step * (1 - 1e-9):
            return factor * 10.0**power
    return 10.0 ** (power + 1)


def _tick_text(value: float, step: float, digits: int) -> str:
    if abs(value) >= 1e6 or digits > 5:
        text = f"{value:.3g}"
    else:
        text = f"{0.0 if abs(value) < step / 2 else value:.{digits}f}"
    return _signed(text)


def _signed(text: str) -> str:
    return text.replace("-", "−", 1) if text.startswith("-") else text
