"""StyleCLIP's mapper in its released form, against its formulas written out."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from inverters.editing.direction_files import load_directions
from inverters.editing.styleclip import LEVELS
from inverters.errors import CheckpointError, InverterError
from tests.inverters.tiny import tiny_generator

WIDTH = 16


def released(*levels: str, seed: int = 0, width: int = WIDTH) -> dict[str, Any]:
    """Random weights as the release stores them, the generator's beside them."""
    rng = torch.Generator().manual_seed(seed)
    weights = {"decoder.style.1.weight": torch.ones(3)}
    for level in levels:
        for layer in range(1, 5):
            name = f"mapper.{level}.mapping.{layer}"
            weights[f"{name}.weight"] = torch.randn(width, width, generator=rng) / 0.01
            weights[f"{name}.bias"] = torch.randn(width, generator=rng) * 30
    return {"state_dict": weights, "opts": {"mapper_type": "LevelsMapper", "no_fine_mapper": True}}


def straight(weights: dict[str, torch.Tensor], ws: torch.Tensor) -> torch.Tensor:
    """M(w) of one code [num_ws,w_dim], number by number as the release defines it."""
    out = torch.zeros_like(ws)
    for level, rows in zip(LEVELS, (range(0, 4), range(4, 8), range(8, len(ws))), strict=True):
        if f"mapper.{level}.mapping.1.weight" not in weights:
            continue
        for row in rows:
            power = sum(ws[other] ** 2 for other in rows) / len(rows)
            x = ws[row] / (power + 1e-8).sqrt()
            for layer in range(1, 5):
                name = f"mapper.{level}.mapping.{layer}"
                x = (
                    weights[f"{name}.weight"] * (0.01 / math.sqrt(len(x))) @ x
                    + weights[f"{name}.bias"] * 0.01
                )
                x = torch.where(x > 0, x, 0.2 * x) * math.sqrt(2)
            out[row] = x
    return out


@pytest.mark.parametrize("levels", [LEVELS, LEVELS[:2], LEVELS[1:2], LEVELS[2:]])
def test_the_step_is_the_released_mappers(tmp_path: Path, levels: tuple[str, ...]) -> None:
    generator = tiny_generator(plane_resolution=256)
    assert generator.num_ws == 14
    content = released(*levels)
    torch.save(content, tmp_path / "eyeglasses.pt")
    one = load_directions(tmp_path / "eyeglasses.pt", generator).named["eyeglasses"]
    ws = torch.randn(3, 14, WIDTH, generator=torch.Generator().manual_seed(1))
    offset = one.offset(ws)
    for k in range(3):
        wanted = 0.04 * straight(content["state_dict"], ws[k])
        assert wanted.abs().max() > 1e-3
        assert torch.allclose(offset[k], wanted, rtol=1e-4, atol=1e-6)
    absent = {LEVELS[0]: slice(0, 4), LEVELS[1]: slice(4, 8), LEVELS[2]: slice(8, 14)}
    for level, rows in absent.items():
        assert offset[:, rows].any() == (level in levels)


def test_options_may_be_a_namespace_and_weights_a_state_dict(tmp_path: Path) -> None:
    content = released(*LEVELS)
    plain = tmp_path / "a.pt"
    torch.save(content, plain)
    module = torch.nn.ParameterDict()
    state = module.state_dict()
    state.update(content["state_dict"])
    for legacy in (False, True):
        torch.save(
            {"state_dict": state, "opts": argparse.Namespace(no_fine_mapper=False, exp_dir="x")},
            tmp_path / "b.pt",
            _use_new_zipfile_serialization=not legacy,
        )
        found = load_directions(tmp_path / "b.pt", tiny_generator()).named["b"]
        assert found.digest() == load_directions(plain, tiny_generator()).named["a"].digest()


def test_what_is_not_that_mapper_is_refused(tmp_path: Path) -> None:
    generator, path = tiny_generator(), tmp_path / "m.pt"

    def refused(content: dict[str, Any], told: str) -> None:
        torch.save(content, path)
        with pytest.raises(InverterError, match=told) as caught:
            load_directions(path, generator)
        assert "\n" not in str(caught.value) and "m.pt" in str(caught.value)

    single = {"state_dict": {"mapper.mapping.mapping.1.weight": torch.ones(16, 16)}, "opts": {}}
    refused(single, "not a LevelsMapper")
    missing, wide, extra, nan = (released(*LEVELS) for _ in range(4))
    del missing["state_dict"]["mapper.fine_mapping.mapping.3.bias"]
    refused(missing, "fine_mapping.mapping.3.bias")
    del missing["state_dict"]["mapper.course_mapping.mapping.1.weight"]
    refused(missing, "course_mapping.mapping.1.weight' is missing")
    wide["state_dict"]["mapper.fine_mapping.mapping.2.weight"] = torch.ones(3, 16)
    refused(wide, "fine_mapping.mapping.2.weight")
    extra["state_dict"]["mapper.fine_mapping.mapping.5.weight"] = torch.ones(16, 16)
    refused(extra, "fine_mapping.mapping.5.weight")
    nan["state_dict"]["mapper.fine_mapping.mapping.2.bias"][3] = torch.nan
    refused(nan, "not finite")
    refused(released(*LEVELS, width=8), r"shape \[8\]")
    refused({"state_dict": {"decoder.x": torch.ones(1)}, "opts": {}}, "not directions")


def test_a_wrong_width_is_an_error_of_its_own() -> None:
    with pytest.raises(CheckpointError):
        from inverters.editing.styleclip import mapper_from

        mapper_from({"state_dict": {"mapper.fine_mapping.mapping.1.weight": torch.ones(4)}})
