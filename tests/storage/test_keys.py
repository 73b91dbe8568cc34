"""Keys: equal for equal requests, different for different ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage import canonical_json, content_hash, folder_hash, stage_key

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), json_values, min_size=2, max_size=6))
def test_order_of_names_does_not_matter(settings: dict[str, object]) -> None:
    turned = dict(reversed(settings.items()))
    assert canonical_json(settings) == canonical_json(turned)
    assert stage_key("s", 1, settings, ["a"]) == stage_key("s", 1, turned, ["a"])


def test_everything_a_key_is_made_of_counts() -> None:
    @dataclass(frozen=True)
    class Knobs:
        rate: float = 0.1
        steps: int | None = None

    keys = {
        stage_key("track", 1, Knobs(), ["a", "b"]),
        stage_key("align", 1, Knobs(), ["a", "b"]),
        stage_key("track", 2, Knobs(), ["a", "b"]),
        stage_key("track", 1, Knobs(rate=0.2), ["a", "b"]),
        stage_key("track", 1, Knobs(steps=0), ["a", "b"]),
        stage_key("track", 1, Knobs(), ["b", "a"]),
        stage_key("track", 1, Knobs(), ["a"]),
        stage_key("track", 1, Knobs(), ["ab"]),
    }
    assert len(keys) == 8
    assert stage_key("track", 1, Knobs(), ["a"]) == stage_key("track", 1, {"rate": 0.1, "steps": None}, ["a"])


def test_values_without_one_text_are_refused() -> None:
    with pytest.raises(ValueError):
        canonical_json({"x": float("nan")})
    with pytest.raises(TypeError):
        canonical_json({"x": object()})


def test_content_hash_tells_dtype_shape_and_values() -> None:
    base = np.arange(6, dtype=np.float32)
    others = [
        base.astype(np.float64),
        base.reshape(2, 3),
        base.reshape(3, 2),
        base + 1,
        base.astype(np.int32),
    ]
    hashes = {content_hash(array) for array in [base, *others]}
    assert len(hashes) == 6
    assert content_hash(np.asfortranarray(base.reshape(2, 3))) == content_hash(base.reshape(2, 3))
    assert content_hash(base.astype(">f4")) == content_hash(base)


def test_folder_hash_follows_names_and_bytes(tmp_path: Path) -> None:
    (tmp_path / "0.png").write_bytes(b"a")
    (tmp_path / "1.png").write_bytes(b"b")
    first = folder_hash(tmp_path)
    (tmp_path / "1.png").rename(tmp_path / "2.png")
    second = folder_hash(tmp_path)
    (tmp_path / "2.png").write_bytes(b"c")
    assert len({first, second, folder_hash(tmp_path)}) == 3
