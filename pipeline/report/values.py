"""Values of a manifest as text: a manifest is JSON from a file, so no type is taken for granted."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

MISSING = "–"
"""Shown in place of a value that is missing or not finite."""


def mapping(value: Any) -> Mapping[str, Any]:
    """The value where it is a mapping, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def listing(value: Any) -> Sequence[Any]:
    """The value where it is a list or tuple, else an empty one."""
    return value if isinstance(value, list | tuple) else ()


def finite(value: Any) -> float | None:
    """The value as a float, None where it is not a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def number_text(value: Any, digits: int = 4, sign: bool = False) -> str:
    """A number with `digits` significant digits; MISSING for None, NaN and infinity, other values as text."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return MISSING if value is None else str(value)
    number = finite(value)
    return MISSING if number is None else format(number, f"{'+' if sign else ''}.{digits}g")


def seconds_text(seconds: float) -> tuple[str, str]:
    """A duration and its unit: ("7.96", "s"), ("2:05", "min") or ("1:02:05", "h")."""
    if seconds < 100:
        return number_text(seconds, 3), "s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}:{rest:02d}", "min"
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}", "h"


def flatten(value: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested values as pairs of a dotted name and plain text."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from flatten(inner, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(value, list | tuple) and value and any(isinstance(item, Mapping) for item in value):
        for i, inner in enumerate(value):
            yield from flatten(inner, f"{prefix}[{i}]")
    elif isinstance(value, list | tuple):
        yield prefix, ", ".join(str(item) for item in value) or MISSING
    else:
        yield prefix, MISSING if value is None or value == {} or value == "" else str(value)


def rows_of(value: Any) -> list[tuple[str, str]]:
    """The rows of a two-column table of everything in a mapping."""
    return [(key, text) for key, text in flatten(value) if key]
