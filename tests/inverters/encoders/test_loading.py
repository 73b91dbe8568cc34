"""State dicts that do not fit are refused in one line; those that do come back as they were saved."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from inverters.encoders.irse import Backbone, IrseConfig
from inverters.encoders.loading import filled, mean_code, split, table_with, tensors_of
from inverters.errors import CheckpointError
from inverters.generators.torch_file import read_torch_file

CONFIG = IrseConfig(widths=(4, 4, 4, 4), units=(1, 1, 1, 1))


def build() -> Backbone:
    return Backbone(CONFIG)


@pytest.fixture
def state() -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in build().state_dict().items()}


def refused(state: dict[str, Tensor]) -> str:
    with pytest.raises(CheckpointError) as caught:
        filled(build, state, "'a.pt'")
    message = str(caught.value)
    assert message.startswith("'a.pt' ") and "\n" not in message and len(message) < 300
    return message


def test_a_saved_file_comes_back(tmp_path: Path, state: dict[str, Tensor]) -> None:
    torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}}, tmp_path / "a.pt")
    tensors = tensors_of(
        table_with("state_dict", read_torch_file(tmp_path / "a.pt"), "it")["state_dict"], "it"
    )
    network = filled(build, tensors, "it")
    assert not network.training and not any(p.requires_grad for p in network.parameters())
    found = network.state_dict()
    assert found.keys() == state.keys() and all(torch.equal(found[k], state[k]) for k in state)


def test_half_precision_is_read_as_float32(state: dict[str, Tensor]) -> None:
    halves = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
    network = filled(build, halves, "it")
    assert all(p.dtype == torch.float32 for p in network.parameters())


def test_counters_of_batch_norms_may_be_missing(state: dict[str, Tensor]) -> None:
    without = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    assert len(without) < len(state)
    assert filled(build, without, "it").state_dict().keys() == state.keys()


def test_missing_and_unknown_names_and_shapes(state: dict[str, Tensor]) -> None:
    del state["body.0.res_layer.1.weight"]
    assert refused(state).endswith(
        "1 tensors missing, 0 unknown, 0 of another shape; first 'body.0.res_layer.1.weight' "
        "(expected [4, 4, 3, 3], found none)"
    )
    state["body.0.res_layer.1.weight"] = torch.zeros(4, 4, 1, 1)
    assert "1 of another shape" in refused(state)
    state["body.0.res_layer.1.weight"] = torch.zeros(4, 4, 3, 3)
    state["a\nb" * 100] = torch.zeros(1)
    assert "1 unknown" in refused(state)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_not_numbers(state: dict[str, Tensor], bad: float) -> None:
    state["body.2.res_layer.0.bias"][1] = bad
    assert "'body.2.res_layer.0.bias' with 1 of 4 weights that are not finite numbers" in refused(state)


def test_numbers_beyond_float32(state: dict[str, Tensor]) -> None:
    state["body.2.res_layer.0.bias"] = torch.full((4,), 1e300, dtype=torch.float64)
    assert "not finite" in refused(state)


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64])
def test_weights_of_another_kind(state: dict[str, Tensor], dtype: torch.dtype) -> None:
    state["body.2.res_layer.0.bias"] = torch.ones(4, dtype=dtype)
    assert f"as {str(dtype)[6:]}; expected float32" in refused(state)


def test_a_negative_variance(state: dict[str, Tensor]) -> None:
    state["body.2.res_layer.0.running_var"][0] = -1
    assert "variance below zero" in refused(state)


def test_nothing_is_allocated_for_weights_that_do_not_fit(state: dict[str, Tensor]) -> None:
    with pytest.raises(CheckpointError, match="missing"):
        filled(lambda: nn.Linear(1 << 20, 1 << 20), state, "it")  # 4 TB


@pytest.mark.parametrize("state", [None, {}, [torch.zeros(1)], {"a": 1.0}, {3: torch.zeros(1)}])
def test_what_is_no_state_dict(state: object) -> None:
    with pytest.raises(CheckpointError, match=r"'a\.pt' "):
        tensors_of(state, "'a.pt'")


def test_what_is_no_table_or_lacks_the_entry() -> None:
    with pytest.raises(CheckpointError, match=r"no entry 'state_dict'; found: encoder, step$"):
        table_with("state_dict", {"encoder": 1, "step": 2}, "it")
    with pytest.raises(CheckpointError, match="found: no table"):
        table_with("state_dict", [1], "it")


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
