"""The base-code encoder: its shapes, and its file, which is read strictly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from inverters.encoders import base_code
from inverters.encoders.base_code import SCALE, BaseCodeEncoder, load_base_code_encoder
from inverters.errors import CheckpointError
from inverters.generators.torch_file import read_torch_file

NARROW = (4, 6, 8)


@pytest.fixture
def encoder(monkeypatch: pytest.MonkeyPatch) -> BaseCodeEncoder:
    monkeypatch.setattr(base_code, "BaseCodeEncoder", lambda: BaseCodeEncoder(NARROW))
    made = BaseCodeEncoder(NARROW)
    for name, tensor in made.state_dict().items():
        if name.endswith(("mean", "var")):
            tensor.uniform_(0.5, 1.5)
    return made


def written(path: Path, weights: Any) -> Path:
    torch.save({"encoder": weights, "optimizer": {"state": {}}, "scheduler": {}, "epoch": 3}, path)
    return path


def loaded(path: Path) -> BaseCodeEncoder:
    return load_base_code_encoder(read_torch_file(path), f"'{path.name}'")


def test_a_file_is_read_as_it_was_written(encoder: BaseCodeEncoder, tmp_path: Path) -> None:
    found = loaded(written(tmp_path / "e.pth", encoder.state_dict()))
    images = torch.randn(2, 3, 5 * SCALE, 5 * SCALE)
    assert found(images).shape == (2, 8, 5, 5) and not found.training
    assert torch.equal(found(images), encoder.eval()(images))


def changed(name: str, change: Callable[[Tensor], Any]) -> Callable[[dict[str, Tensor]], Any]:
    return lambda weights: weights | {name: change(weights[name])}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda w: {k: v for k, v in w.items() if k != "model.33.bias"}, "1 tensors missing"),
        (lambda w: w | {"model.35.weight": torch.zeros(1)}, "1 unknown.* 'model.35.weight'"),
        (lambda w: {}, "found an empty one"),
        (lambda w: [1], "found list"),
        (changed("model.0.weight", lambda t: t[:, :2]), r"expected \[4, 3, 3, 3\], found \[4, 2, 3, 3\]"),
        (changed("model.0.weight", lambda t: 3), "'model.0.weight', a int"),
        (changed("model.4.running_var", lambda t: t * torch.nan), "'model.4.running_var'.* not finite"),
    ],
)
def test_another_layout_is_refused(
    encoder: BaseCodeEncoder, tmp_path: Path, change: Callable[[dict[str, Tensor]], Any], told: str
) -> None:
    path = written(tmp_path / "e.pth", change(dict(encoder.state_dict())))
    with pytest.raises(CheckpointError, match=told) as caught:
        loaded(path)
    assert "\n" not in str(caught.value) and "e.pth" in str(caught.value)


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "e.pth"
    torch.save([1, 2], path)
    with pytest.raises(CheckpointError, match="has no entry 'encoder'"):
        loaded(path)
