"""The rule that gives the golden networks their weights, and comparisons in the terms of the golden files."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from inverters.generators.config import GeneratorConfig
from inverters.generators.eg3d import Generator

ROOT = Path(__file__).resolve().parents[3]
GOLDEN = ROOT / "tests" / "golden"
SHARED_GOLDEN = ROOT.parent / "shared" / "golden"

SMALL = GeneratorConfig(
    channel_base=1024, channel_max=16, mapping_features=128, superresolution="4X", img_resolution=256
)
FULL = GeneratorConfig()
_TABLE = (
    (lambda n: n.startswith("backbone.mapping.fc") and n.endswith(".weight"), 0.0, 100.0),
    (lambda n: n.startswith("backbone.mapping.fc") and n.endswith(".bias"), 0.0, 20.0),
    (lambda n: n.endswith(".affine.weight"), 0.0, 0.5),
    (lambda n: n.endswith(".affine.bias"), 1.0, 0.2),
    (lambda n: n.endswith(".noise_strength"), 0.1, 0.05),
    (lambda n: n.endswith(".w_avg"), 0.0, 0.3),
    (lambda n: n.endswith(".bias"), 0.0, 0.2),
    (lambda n: True, 0.0, 1.0),
)


def rule_weights(config: GeneratorConfig, density_shift: float) -> Generator:
    """A generator with the weights of the golden rule; `density_shift`: 16 (small) or -12 (full)."""
    generator = Generator(config).requires_grad_(False).eval()
    for name, tensor in generator.state_dict().items():
        if name.endswith("resample_filter"):
            continue
        offset, scale = next((o, s) for matches, o, s in _TABLE if matches(name))
        drawn = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(tensor.numel())
        value = np.float32(offset) + np.float32(scale) * drawn.astype(np.float32)
        tensor.copy_(torch.from_numpy(value.reshape(tuple(tensor.shape))))
    last = generator.decoder.net[2]
    last.weight[0] *= 64
    last.bias[0] += density_shift
    return generator


def shared(name: str) -> Path:
    """A golden file that is not shipped; skips the test where it is absent."""
    path = SHARED_GOLDEN / name
    if not path.is_file():
        pytest.skip(f"{name} is not beside the repository")
    return path


def assert_close(
    found: Tensor, golden: npt.NDArray[np.floating], largest: float, relative: float = 1e-4
) -> None:
    """Greatest difference at most `largest`, and relative L2 at most `relative`."""
    want = torch.from_numpy(np.asarray(golden)).double()
    difference = found.detach().double() - want
    assert difference.abs().max() <= largest, f"max {float(difference.abs().max()):.2e} > {largest:.0e}"
    ratio = float(difference.norm() / want.norm().clamp_min(1e-12))
    assert ratio <= relative, f"relative L2 {ratio:.2e} > {relative:.0e}"


def stats(stacked: Tensor) -> Tensor:
    """Sum and sum of squares of every channel of [C,h,w]: [C,2], in float64."""
    flat = stacked.detach().double().flatten(1)
    return torch.stack([flat.sum(dim=1), flat.square().sum(dim=1)], dim=1)


def assert_stats(stacked: Tensor, golden: npt.NDArray[np.floating], each: float) -> None:
    """Channel sums within what a difference of `each` per entry can make (and of squares, relatively)."""
    found, want = stats(stacked), torch.from_numpy(golden)
    count = stacked[0].numel()
    assert (found[:, 0] - want[:, 0]).abs().max() <= each * count
    assert ((found[:, 1] - want[:, 1]).abs() / want[:, 1].clamp_min(1e-12)).max() <= 1e-3
