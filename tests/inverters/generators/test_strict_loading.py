"""State dicts that do not fit are refused in one line; those that do come back as they were saved."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from inverters.errors import CheckpointError
from inverters.generators.strict_loading import entry_or_all, fill, filled, table_with, tensors_of
from inverters.generators.torch_file import read_torch_file


def build() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))


@pytest.fixture
def state() -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in build().state_dict().items()}


def refused(state: dict[str, Tensor]) -> str:
    """The message, after checks that a network which cannot be filled keeps its own weights."""
    network = build()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        fill(network, state, "'a.pt'")
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    message = str(caught.value)
    assert message.startswith("'a.pt' ") and "\n" not in message and len(message) < 300
    return message


def test_a_saved_file_comes_back(tmp_path: Path, state: dict[str, Tensor]) -> None:
    torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}}, tmp_path / "a.pt")
    table = table_with(read_torch_file(tmp_path / "a.pt"), "it", "state_dict")
    network = filled(build, tensors_of(table["state_dict"], "it"), "it")
    assert not network.training and not any(p.requires_grad for p in network.parameters())
    found = network.state_dict()
    assert found.keys() == state.keys() and all(torch.equal(found[k], state[k]) for k in state)


def test_half_precision_is_read_as_float32(state: dict[str, Tensor]) -> None:
    halves = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
    network = filled(build, halves, "it")
    assert all(p.dtype == torch.float32 for p in network.parameters())


def test_counters_of_batch_norms_may_be_missing(state: dict[str, Tensor]) -> None:
    del state["1.num_batches_tracked"]
    found = filled(build, state, "it").state_dict()
    assert found["1.num_batches_tracked"] == 0 and all(torch.equal(found[k], state[k]) for k in state)


def test_missing_and_unknown_names_and_shapes(state: dict[str, Tensor]) -> None:
    weight = state.pop("0.weight")
    assert refused(state).endswith(
        "does not fit its architecture: 1 tensors missing, 0 unknown, 0 of another shape; first '0.weight' "
        "(expected [3, 2], found none)"
    )
    state["0.weight"] = weight.T
    assert refused(state).endswith(
        "0 unknown, 1 of another shape; first '0.weight' (expected [3, 2], found [2, 3])"
    )
    state["0.weight"] = weight
    state["a\nb" * 100] = torch.zeros(1)
    assert "1 unknown" in refused(state)


def test_unused_names_are_left_out(state: dict[str, Tensor]) -> None:
    more = state | {"extra.0.w": torch.zeros(1), "extra.1.w": torch.zeros(1)}
    found = filled(build, more, "it", unused=[r"other", r"extra\.\d\.w"])
    assert found.state_dict().keys() == state.keys()
    with pytest.raises(CheckpointError, match=r"2 unknown.*first 'extra\.0\.w'"):
        filled(build, more, "it", unused=[r"extra\.\d"])


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_not_numbers(state: dict[str, Tensor], bad: float) -> None:
    state["0.bias"][1] = bad
    assert refused(state).endswith("'0.bias' with 1 of 3 weights that are not finite numbers")


def test_numbers_beyond_float32(state: dict[str, Tensor]) -> None:
    state["0.bias"] = torch.full((3,), 1e300, dtype=torch.float64)
    assert "not finite" in refused(state)


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64])
def test_weights_of_another_kind(state: dict[str, Tensor], dtype: torch.dtype) -> None:
    state["0.bias"] = torch.ones(3, dtype=dtype)
    assert refused(state).endswith(f"'0.bias' as {str(dtype)[6:]}; expected float32")


def test_a_negative_variance(state: dict[str, Tensor]) -> None:
    state["1.running_var"][0] = -1
    assert "variance below zero" in refused(state)


def test_nothing_is_allocated_for_weights_that_do_not_fit(state: dict[str, Tensor]) -> None:
    with pytest.raises(CheckpointError, match="missing"):
        filled(lambda: nn.Linear(1 << 20, 1 << 20), state, "it")  # 4 TB


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (None, r"'a\.pt': expected a table of tensors by name, found NoneType$"),
        ({}, r"'a\.pt': expected a table of tensors by name, found an empty one$"),
        ([torch.zeros(1)], r"'a\.pt': expected a table of tensors by name, found list$"),
        ({"a": 1.0}, r"'a\.pt' has 'a', a float where a tensor by name was expected$"),
        ({3: torch.zeros(1)}, r"'a\.pt' has 'int', a Tensor where a tensor by name was expected$"),
    ],
)
def test_what_is_no_state_dict(state: object, said: str) -> None:
    with pytest.raises(CheckpointError, match=said):
        tensors_of(state, "'a.pt'")


def test_what_is_no_table_or_lacks_an_entry() -> None:
    table = {"encoder": 1, "step": 2}
    assert table_with(table, "it", "encoder", "step") == table
    with pytest.raises(CheckpointError, match=r"^it has no entry 'state_dict'; found: encoder, step$"):
        table_with(table, "it", "step", "state_dict")
    with pytest.raises(CheckpointError, match=r"found: list$"):
        table_with([1], "it", "state_dict")
    assert entry_or_all(table, "step") == 2 and entry_or_all(table, "d") is table
    assert entry_or_all([1], "d") == [1]
