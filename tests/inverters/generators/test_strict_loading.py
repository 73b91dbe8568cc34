"""Strict loading of state dicts."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from inverters.errors import CheckpointError
from inverters.generators.strict_loading import load_strictly


def network():
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))


def test_the_counter_of_batch_norm_may_be_absent():
    state, target = network().state_dict(), network()
    del state["1.num_batches_tracked"]
    load_strictly(target, state, "a network")
    assert torch.equal(target[0].weight, state["0.weight"])


def test_a_refused_state_dict_changes_nothing():
    target = network()
    before = {key: value.clone() for key, value in target.state_dict().items()}
    state = network().state_dict() | {"1.running_var": torch.tensor([1.0, float("inf"), 1.0])}
    with pytest.raises(CheckpointError, match=r"'1\.running_var' holds a value that is not a number"):
        load_strictly(target, state, "a network")
    assert all(torch.equal(value, before[key]) for key, value in target.state_dict().items())


def test_the_message_counts_and_names_the_keys():
    state = {f"x\n{k}": torch.zeros(1) for k in range(5)} | network().state_dict()
    with pytest.raises(
        CheckpointError, match=r"expected 6 tensors, found 11; unknown: .* and 2 more"
    ) as caught:
        load_strictly(network(), state, "a network")
    assert "\n" not in str(caught.value)
    load_strictly(network(), state, "a network", [r"x\n\d"])
