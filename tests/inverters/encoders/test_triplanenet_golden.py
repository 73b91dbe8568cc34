"""TriPlaneNet against the official code's outputs: features, offsets, and the whole forward on an EG3D."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from inverters.encoders.triplanenet import OFFSETS, OffsetEncoder, TriPlaneNet, Variant, load_triplanenet
from inverters.generators import eg3d
from inverters.generators.eg3d import Generator
from inverters.generators.strict_loading import filled
from inverters.rendering.rays import pixel_centres
from tests.inverters.encoders.rule import (
    equalised,
    gauss,
    golden,
    golden_cameras,
    image,
    keys,
    recorded,
    rule_dictionary,
)
from tests.inverters.generators.rule import FULL, assert_close, assert_stats, rule_weights

Golden = Mapping[str, npt.NDArray[np.floating]]
PREFIX = "triplanenet_encoder."
NAMES: dict[Variant, tuple[str, str]] = {
    "v1": ("v1", "v1_offset"),
    "v2-shuffle": ("v2 pixelshuffle", "v2s_planes"),
    "v2-nearest": ("v2 upsample", "v2u_planes"),
}


def sparse(features: Tensor, channels: int, step: int) -> Tensor:
    return features[:, ::channels, ::step, ::step]


def assert_features(layers: Mapping[str, nn.Module], found: Mapping[str, Tensor], want: Golden) -> None:
    """Each layer's features, every eighth channel, in the steps of the golden ones."""
    for name in layers:
        step = found[name].shape[-1] // want[name].shape[-1]
        assert_close(sparse(found[name], 8, step), want[name], 1e-5, 3e-6)


@pytest.mark.parametrize("variant", NAMES)
@torch.no_grad()
def test_second_branch(variant: Variant) -> None:
    want = golden("triplanenet")
    title, name = NAMES[variant]
    drawn = rule_dictionary(keys("triplanenet", f"triplanenet_encoder {title}"))
    weights = {key.removeprefix(PREFIX): tensor for key, tensor in drawn.items()}
    encoder = filled(lambda: OffsetEncoder(OFFSETS[variant]), weights, "it")
    layers: dict[str, nn.Module] = {}
    if variant == "v1":
        layers |= {f"v1_body{k}": encoder.body[k] for k in (2, 6, 20, 21, 23)}
        layers |= {f"v1_up{k}": getattr(encoder, f"up{k}") for k in (1, 2, 3, 4)}
    found = recorded(layers)
    x, y, mirrored, back = (image(seed, 256) for seed in (11, 41, 43, 45))
    planes = gauss(47, 1, 96, 256, 256).reshape(1, 3, 32, 256, 256)
    seen = [y, x - y] if variant == "v1" else [y, x - y, mirrored - back]
    offset = encoder(torch.cat(seen, dim=1), planes)
    stacked = (offset if variant == "v1" else planes + offset).reshape(1, 96, 256, 256)
    assert_features(layers, found, want)
    assert_close(sparse(stacked, 4, 8), want[f"{name}_s8"], 1e-5, 3e-6)
    assert_close(stacked[:, [0, 40, 95], 96:128, 96:128], want[f"{name}_crop"], 1e-5, 3e-6)
    assert_stats(stacked[0], want[f"{name}_stats"], 1e-6)


@pytest.fixture(scope="module")
def generator() -> Generator:
    return rule_weights(FULL, -12.0)


@pytest.fixture(scope="module")
def network(generator: Generator) -> TriPlaneNet:
    """Read from a dictionary like the official file's, generator included."""
    layout = keys("triplanenet", "psp_encoder (v1 and v2)") | keys("triplanenet", "triplanenet_encoder v1")
    state: dict[str, Any] = rule_dictionary(layout, (equalised(r"^psp_encoder.*linear\.weight$"),))
    state |= {f"decoder.{name}": tensor for name, tensor in generator.state_dict().items()}
    mean = 0.3 * gauss(151, 512)
    assert_close(mean, golden("triplanenet_net")["latent_avg"], 1e-7)
    return load_triplanenet({"state_dict": state, "opts": {}, "step": 1}, generator, mean)


@pytest.mark.slow
@torch.no_grad()
def test_first_branch(network: TriPlaneNet) -> None:
    want, encoder = golden("triplanenet"), network.psp_encoder
    layers = {f"psp_c{k}": encoder.body[k] for k in (6, 20, 23)}
    found = recorded(layers)
    assert_close(encoder(image(11, 256)), want["psp_w"], 1e-5, 3e-6)
    assert_features(layers, found, want)


def released_rays(cam2world: Tensor, inside: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """EG3D's rays by its own arithmetic: points at depth 1 in the world, minus the camera's position.

    Directions differ by one unit in the last place from ours. Rough planes, as drawn by rule, turn that into
    differences of 6e-4 in single pixels: more than the golden tolerance, which was measured with equal rays.
    """
    position = cam2world[:, None, :3, 3]
    in_camera = F.pad((pixel_centres(size) - 0.5) / inside[0, 0, 0], (0, 1), value=1.0)
    directions = F.normalize(in_camera @ cam2world[:, :3, :3].mT + position - position, dim=-1)
    return position.expand_as(directions), directions


@pytest.mark.slow
@torch.no_grad()
def test_whole_forward(network: TriPlaneNet, generator: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(eg3d, "make_rays", released_rays)
    want = golden("triplanenet_net")
    novel, same = golden_cameras(slice(0, 1)), golden_cameras(slice(1, 2))
    found = network(generator, image(11, 256), *same)
    assert_close(found.codes, want["codes"], 5e-6, 3e-5)
    assert_close(sparse(found.first, 1, 4), want["y_psp"], 5e-4, 3e-5)
    assert_close(sparse(found.offset.reshape(1, 96, 256, 256), 4, 8), want["v1_offset_s8"], 5e-5, 3e-5)
    assert_close(sparse(found.image, 1, 4), want["v1_y_same"], 5e-4, 3e-5)
    away = generator.synthesis(found.codes, *novel, planes=found.planes + found.offset).image
    pooled = F.adaptive_avg_pool2d(away, 256)
    assert_close(sparse(pooled, 1, 4), want["v1_y_novel"], 5e-4, 3e-5)
    refined = network(generator, image(11, 256), *same, passes=1)
    again = refined.offset.reshape(1, 96, 256, 256)
    assert_close(sparse(again, 4, 8), want["v1_cttr_offset2_s8"], 1e-4, 6e-5)
    assert_close(sparse(refined.image, 1, 4), want["v1_cttr_y"], 1e-3, 6e-5)
