"""An array in a cache, for tests."""

from __future__ import annotations

import numpy as np

from storage import StageCache, StoredArray


def stored(cache: StageCache, name: str, array: np.ndarray) -> StoredArray:
    with cache.begin(f"x-{name}") as writer:
        writer.put("x", array)
        return writer.publish().arrays["x"]
