"""What the loader of E3DGE's files reads and refuses."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from inverters.encoders.e3dge import E3DGE, E3DGEConfig
from inverters.encoders.e3dge_files import load_e3dge, seeded_means
from inverters.encoders.e3dge_local import Variant
from inverters.errors import CheckpointError
from inverters.generators.stylesdf import Codes
from inverters.generators.torch_file import read_torch_file
from tests.inverters.encoders.e3dge_tiny import CONFIG, tiny_e3dge

Tables = tuple[dict[str, Any], dict[str, Any], dict[str, Any]]
Damage = Callable[[dict[str, Any]], Any]
ZERO = torch.zeros(1)
_TWINS = [
    (f"image_filter.{block}.bn4.{end}", f"image_filter.{block}.downsample.0.{end}")
    for block in ("conv2", "conv4")
    for end in ("weight", "bias")
]


def tables(network: E3DGE) -> Tables:
    """The three tables as released: twins, unused entries, optimisers, a prefix."""
    branch = network.branch
    local = dict(branch.local.state_dict())
    local |= {first: local[second] for first, second in _TWINS}
    local |= {
        "downsample_channel_conv.conv.weight": torch.zeros(1),
        "image_filter.m0.b1_1.bn4.bias": torch.zeros(1),
    }
    encoder = {f"module.{key}": value for key, value in network.encoder.state_dict().items()}
    if network.config.encoder.decoder_head:
        encoder["module.styles_stylegan.9.linear.weight"] = ZERO
    runner = {
        "iter": 3,
        "encoder": encoder,
        "netLocal": local,
        "grid_align": branch.align.state_dict(),
        "Fuse_sft_block": branch.fuse.state_dict(),
        "grid_align_optimizer": {},
    }
    decoder_bias = {
        "decoder.conv1.bias": torch.zeros(1),
        "decoder.convs.0.conv.blur.kernel": torch.zeros(4, 4),
    }
    generator = {"g_ema": network.generator.state_dict() | decoder_bias}
    return runner, generator, {"d": network.pose.state_dict()}


def means(network: E3DGE) -> Codes:
    return Codes(network.mean_renderer, network.mean_decoder)


def variant(variant: Variant = "released", head: bool = True) -> E3DGEConfig:
    local = dataclasses.replace(CONFIG.branch.local, variant=variant)
    encoder = dataclasses.replace(CONFIG.encoder, decoder_head=head)
    branch = dataclasses.replace(CONFIG.branch, local=local)
    return dataclasses.replace(CONFIG, encoder=encoder, branch=branch)


@pytest.mark.parametrize("config", [variant(), variant(variant="training"), variant(head=False)])
def test_the_loader_finds_the_kind_of_network_by_its_keys(config: E3DGEConfig) -> None:
    network = tiny_e3dge(config)
    loaded = load_e3dge(*tables(network), CONFIG, means(network))
    assert loaded.config == config and not loaded.training
    want = network.state_dict()
    assert all(torch.equal(value, want[key]) for key, value in loaded.state_dict().items())


def test_files_are_read(tmp_path: Path) -> None:
    network = tiny_e3dge()
    paths = [tmp_path / name for name in ("runner.pt", "generator.pt", "renderer.pt")]
    for path, table in zip(paths, tables(network), strict=True):
        torch.save(table, path)
    loaded = load_e3dge(*(read_torch_file(path) for path in paths), CONFIG)
    assert torch.equal(loaded.mean_renderer, seeded_means(network.generator).renderer)
    assert torch.equal(loaded.branch.fuse.scale[0].weight, network.branch.fuse.scale[0].weight)


def _drop(name: str) -> Damage:
    return lambda runner: runner.pop(name)


def _put(name: str, value: object) -> Damage:
    return lambda runner: runner.__setitem__(name, value)


def _change(table: str, key: str, value: object) -> Damage:
    return lambda runner: runner[table].__setitem__(key, value)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_drop("netLocal"), "has no entry 'netLocal'"),
        (_put("netGlobal", {}), "has the unknown entry 'netGlobal'"),
        (_put("encoder", [1]), "its 'encoder': expected a table of tensors by name, found list"),
        (_put("grid_align", {"x": ZERO}), "its 'grid_align' does not fit its architecture.* 1 unknown"),
        (_change("Fuse_sft_block", "scale.9.weight", ZERO), "its 'Fuse_sft_block'.*'scale.9.weight'"),
        (_change("netLocal", _TWINS[0][0], torch.zeros(4)), "its 'netLocal' has .* with different values"),
        (_change("netLocal", _TWINS[0][0], "text"), "its 'netLocal' has .* a str where a tensor"),
        (_change("netLocal", "depth_conv.2.weight", torch.zeros(2, 2, 1, 2)), "1 of another shape"),
    ],
)
def test_the_loader_names_what_is_wrong(damage: Damage, said: str) -> None:
    network = tiny_e3dge()
    runner, generator, renderer = tables(network)
    runner = {k: dict(v) if isinstance(v, dict) else v for k, v in runner.items()}
    damage(runner)
    with pytest.raises(CheckpointError, match=f"^E3DGE's file.*{said}") as caught:
        load_e3dge(runner, generator, renderer, CONFIG, means(network))
    assert "\n" not in str(caught.value)


def test_a_wrong_table_of_the_generator_or_the_pose_network_is_named() -> None:
    network = tiny_e3dge()
    runner, generator, renderer = tables(network)
    with pytest.raises(CheckpointError, match="StyleSDF's pose network"):
        load_e3dge(runner, generator, generator, CONFIG, means(network))
    with pytest.raises(CheckpointError, match="StyleSDF's generator"):
        load_e3dge(runner, renderer, renderer, CONFIG, means(network))
    with pytest.raises(CheckpointError, match="E3DGE's file"):
        load_e3dge([], generator, renderer, CONFIG, means(network))
