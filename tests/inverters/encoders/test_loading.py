"""Parts of the encoders' files."""

from __future__ import annotations

import pytest
import torch

from inverters.encoders.loading import mean_code, split
from inverters.errors import CheckpointError


def test_parts_by_prefix() -> None:
    a, b = torch.zeros(1), torch.ones(1)
    assert split({"x.y": a, "z.y": b}, ("x.", "z.", "q."), "it") == [{"y": a}, {"y": b}, {}]
    with pytest.raises(
        CheckpointError, match=r"has 'z\.y'; expected are only names that begin with x\., q\.$"
    ):
        split({"x.y": a, "z.y": b}, ("x.", "q."), "it")


def test_mean_codes() -> None:
    row = torch.arange(4.0)
    for given in (row, row[None], row.expand(3, 4)):
        assert torch.equal(mean_code(given, 3, 4, "it"), row.expand(3, 4))
    assert mean_code(torch.zeros(5, 4), None, 4, "it").shape == (5, 4)
    assert mean_code(torch.zeros(4), None, 4, "it").shape == (1, 4)
    with pytest.raises(CheckpointError, match=r"it has shape \[21, 4\]"):
        mean_code(torch.zeros(21, 4), None, 4, "it")
    for wrong in (torch.zeros(2, 4), torch.zeros(3), None, torch.full((4,), float("nan"))):
        with pytest.raises(CheckpointError):
            mean_code(wrong, 3, 4, "it")
