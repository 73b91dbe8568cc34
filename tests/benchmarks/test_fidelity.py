"""The benchmark of fidelity in several sittings: one table of all."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.fidelity import joined
from pipeline.fidelity.table import MEASURED


def sitting(date: str, generator: str = "g", **values: dict[str, float]) -> dict[str, Any]:
    """A result with rows by clip: {method: psnr_reconstruction}."""
    rows = [
        dict.fromkeys(MEASURED)
        | {"clip": clip, "occluder": clip[:-2], "method": method, "preset": "draft"}
        | {"generator": generator, "psnr_reconstruction": value}
        for clip, methods in values.items()
        for method, value in methods.items()
    ]
    alike = {"format": 1, "options": [], "lpips": "squeeze", "identity": None, "jobs": 2, "threads": 1}
    return {**alike, "machine": {"date": date}, "clips": rows, "rows": [], "failed": []}


def test_sittings_become_one_table() -> None:
    first = sitting("1", hat_1={"w": 1.0, "in-n-out": 2.0}, mask_1={"w": 5.0})
    second = sitting("2", mask_1={"w": 3.0}, mask_2={"w": 8.0})
    found = joined([first, second])
    assert [(row["clip"], row["method"]) for row in found["clips"]] == [
        ("mask_1", "w"),
        ("mask_2", "w"),
        ("hat_1", "w"),
        ("hat_1", "in-n-out"),
    ]
    means = {row["method"]: (row["psnr_reconstruction"], row["clips"]) for row in found["rows"]}
    assert means == {"w": (4.0, 3), "in-n-out": (2.0, 1)}
    assert found["machine"] == {"date": "2"}
    assert [s["clips"] for s in found["sittings"]] == [["hat_1", "mask_1"], ["mask_1", "mask_2"]]


def test_sittings_that_do_not_belong_together_are_refused() -> None:
    one = sitting("1", mask_1={"w": 5.0})
    with pytest.raises(ValueError, match="generator"):
        joined([one, sitting("2", "h", mask_2={"w": 5.0})])
    with pytest.raises(ValueError, match="lpips"):
        joined([one, sitting("2", mask_2={"w": 5.0}) | {"lpips": "alex"}])
