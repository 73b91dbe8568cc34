"""Values as JSON knows them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np


def finite(value: Any) -> float | None:
    """A float for JSON; None for what is not finite."""
    number = float(value)
    return number if math.isfinite(number) else None


def plain(value: Any) -> Any:
    """Nested values as JSON knows them; numbers that are not finite become None, other objects their text."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, bool | str) or value is None:
        return value
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return finite(value)
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    return str(value)
