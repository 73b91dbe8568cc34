"""Cards of another kind or size than any generator's are one line, before anything is built from them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from inverters.generators.checkpoint import save_generator
from tests.inverters.generators.test_checkpoint import full_card, refused
from tests.inverters.generators.test_eg3d import made

BRACKETS = "[" * 100_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A generator in our own form."""
    save_generator(tmp_path / "little.safetensors", made(), full_card())
    return tmp_path / "little.safetensors"


@pytest.mark.parametrize("text", [BRACKETS, '{"a":' * 50_000, "9" * 5000, "\\ud800", "NaN"])
def test_a_text_that_is_no_card(path: Path, text: str) -> None:
    path.with_suffix(".json").write_text(text)
    refused(path, "is damaged|is not the card")


def test_a_card_that_is_a_pipe_or_too_large(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = path.with_suffix(".json")
    card.write_bytes(b" " * ((1 << 26) + 1))
    refused(path, "more than 67108864 bytes")
    card.unlink()
    os.mkfifo(card)
    refused(path, "not a regular file")
    path.unlink()
    os.mkfifo(path)
    refused(path, "there is no generator")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("w_dim", 10**12),
        ("w_dim", "16"),
        ("w_dim", True),
        ("w_dim", -16),
        ("mapping_layers", 10**9),
        ("plane_resolution", 17),
        ("plane_axes", ["fixed"]),
        ("superresolution", "16X"),
        ("sr_channels", [8]),
        ("sr_channels", [8, 10**9]),
        ("ray_start", float("nan")),
        ("white_back", 1),
        ("camera_pivot", BRACKETS[:100] + "]" * 100),
        ("z_dim", None),
    ],
)
def test_a_configuration_of_another_kind_or_size(path: Path, name: str, value: Any) -> None:
    card = path.with_suffix(".json")
    values = json.loads(card.read_text())
    values["config"][name] = value
    card.write_text(json.dumps(values))
    refused(path, f"configuration has {name} = ")


def test_an_architecture_that_is_larger_than_its_file_is_not_built(path: Path) -> None:
    """Its mapping alone would take 64 GB."""
    card = path.with_suffix(".json")
    values = json.loads(card.read_text())
    values["config"] |= {"mapping_layers": 64, "mapping_features": 1 << 14, "z_dim": 1 << 14}
    card.write_text(json.dumps(values))
    refused(path, "does not fit its architecture")


@pytest.mark.parametrize(
    "change",
    [
        lambda card: card["crop_rule"].update(target=10**9),
        lambda card: card["crop_rule"].update(target="1024"),
        lambda card: card["crop_rule"].update(points3d=[[0, 0]] * 5),
        lambda card: card["crop_rule"].update(rescale_factor=[1]),
        lambda card: card["crop_rule"].update(other=1),
        lambda card: card["camera_rule"].update(kind="sideways"),
        lambda card: card["camera_rule"].update(radius=0),
        lambda card: card["camera_rule"].update(pivot=3),
        lambda card: card.update(camera_rule=[]),
        lambda card: card.update(config=[]),
        lambda card: card.update(name=["x"]),
        lambda card: card.update(reports=3),
        lambda card: card.update(directions=7),
        lambda card: card.update(landmark_layouts=[["68"]]),
    ],
)
def test_rules_of_another_kind(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    card = path.with_suffix(".json")
    values = json.loads(card.read_text())
    change(values)
    card.write_text(json.dumps(values))
    refused(path, "is damaged")


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("card.w_avg", torch.zeros(3)),
        ("card.w_std", torch.full((16,), float("nan"))),
        ("card.landmarks3d.68", torch.zeros(68, 2)),
        ("card.directions.smile", torch.zeros(8, 16, dtype=torch.int32)),
    ],
)
def test_arrays_of_another_kind(path: Path, name: str, array: torch.Tensor) -> None:
    tensors = load_file(path) | {name: array}
    save_file(tensors, path, {"format": "invid-generator", "files": "1"})
    refused(path, "is damaged")
