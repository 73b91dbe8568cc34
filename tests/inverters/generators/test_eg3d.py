"""The generator as a whole: shapes of every kind, what drives what, determinism."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from inverters.errors import CheckpointError, UnknownNameError
from inverters.generators.config import GeneratorConfig
from inverters.generators.eg3d import Generator
from inverters.rendering.cameras import default_intrinsics, look_at, to_label

BASE = GeneratorConfig(
    z_dim=24,
    w_dim=16,
    mapping_features=20,
    channel_base=128,
    channel_max=8,
    plane_resolution=32,
    plane_channels=6,
    img_resolution=64,
    neural_rendering_resolution=8,
    superresolution="small4x",
    sr_channels=(8, 4),
    depth_resolution=5,
    depth_resolution_importance=4,
)


def made(**changes: object) -> Generator:
    torch.manual_seed(0)
    return Generator(dataclasses.replace(BASE, **changes)).requires_grad_(False).eval()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "size"), [("small4x", 64), ("small2x", 64), ("8XDC", 512), ("8X", 512), ("4X", 256), ("2X", 128)]
)
def test_shapes_of_every_kind(kind: str, size: int) -> None:
    if kind in ("8XDC", "8X"):
        generator = made(superresolution=kind, img_resolution=size)
        names = generator.state_dict()
        assert ("superresolution.resample_filter" in names) == (kind == "8X")
        widths = {"8XDC": (256, 128), "8X": (128, 64)}[kind]
        assert [names[f"superresolution.block{k}.conv1.weight"].shape[0] for k in (0, 1)] == list(widths)
        return
    generator = made(superresolution=kind, img_resolution=size)
    ws = generator.mapping(torch.randn(1, 24))
    assert ws.shape == (1, generator.num_ws, 16) and generator.num_ws == 8
    planes = generator.planes(ws)
    assert planes.shape == (1, 3, 6, 32, 32)
    found = generator.synthesis(ws, look_at([0.0, 0.3], 0.1), default_intrinsics(), planes=planes)
    assert found.image.shape == (2, 3, size, size)
    assert found.image_raw.shape == (2, 3, 8, 8) and found.features.shape == (2, 32, 8, 8)
    assert found.depth.shape == (2, 1, 8, 8)
    assert torch.equal(found.image_raw, found.features[:, :3])


@pytest.mark.parametrize(("resolution", "rows"), [(256, 14), (128, 12), (64, 10)])
def test_rows_of_w_follow_from_the_planes(resolution: int, rows: int) -> None:
    assert GeneratorConfig(plane_resolution=resolution).num_ws == rows


def test_superresolution_leaves_its_input_and_uses_the_last_row_only() -> None:
    for kind, size in (("small4x", 64), ("4X", 256)):
        generator = made(superresolution=kind, img_resolution=size)
        ws = torch.randn(1, generator.num_ws, 16)
        features = torch.randn(1, 32, 128 if kind == "4X" else 16, 128 if kind == "4X" else 16)
        before = features.clone()
        image = generator.superresolve(features, ws)
        assert torch.equal(features, before)
        other = torch.randn_like(ws)
        other[:, -1] = ws[:, -1]
        assert torch.equal(generator.superresolve(features, other), image)
        assert not torch.equal(generator.superresolve(features, other.flip(1)), image)


def test_every_row_of_w_but_the_last_block_drives_the_planes() -> None:
    generator = made()
    ws = torch.randn(1, generator.num_ws, 16, requires_grad=True)
    generator.planes(ws).square().mean().backward()
    assert (ws.grad.abs().sum(dim=-1) > 0).all()


def test_batch_is_independent_of_company() -> None:
    generator = made()
    ws = torch.randn(2, generator.num_ws, 16)
    assert torch.allclose(generator.planes(ws)[1:], generator.planes(ws[1:]), atol=1e-5)


def test_default_label_is_the_frontal_camera() -> None:
    generator = made(camera_pivot=(0.0, 0.0, 0.1))
    z = torch.randn(1, 24)
    label = to_label(look_at(0.0, 0.0, pivot=(0.0, 0.0, 0.1)), default_intrinsics())
    assert torch.equal(generator.mapping(z), generator.mapping(z, label))
    assert not torch.equal(generator.mapping(z), generator.mapping(z, label + 1))
    unconditional = made(c_dim=0)
    assert "backbone.mapping.embed.weight" not in unconditional.state_dict()
    assert unconditional.mapping(z).shape == (1, 8, 16)
    zeroed = made(c_gen_conditioning_zero=True)
    assert torch.equal(zeroed.mapping(z), zeroed.mapping(z, label + 1))


def test_truncation() -> None:
    generator = made()
    generator.backbone.mapping.w_avg.normal_()
    z = torch.randn(2, 24)
    ws, average = generator.mapping(z), generator.backbone.mapping.w_avg
    assert torch.allclose(generator.mapping(z, truncation_psi=0.0), average.expand_as(ws), atol=1e-6)
    cut = generator.mapping(z, truncation_psi=0.5, truncation_cutoff=3)
    assert torch.allclose(cut[:, :3], (ws[:, :3] + average) / 2, atol=1e-6)
    assert torch.equal(cut[:, 3:], ws[:, 3:])


@pytest.mark.parametrize("block", [4, 8, 16])
def test_the_backbone_goes_on_where_it_stopped(block: int) -> None:
    generator = made()
    ws = torch.randn(2, generator.num_ws, 16)
    features, skip = generator.features_at(ws, block)
    assert features.shape[2:] == skip.shape[2:] == (block, block)
    assert torch.equal(generator.planes_from(features, skip, ws, block), generator.planes(ws))
    dropped = generator.planes_from(features, None, ws, block)
    assert torch.equal(dropped, generator.planes_from(features, torch.zeros_like(skip), ws, block))
    assert not torch.allclose(dropped, generator.planes(ws))
    other = ws.clone()
    other[:, : 2 * (block.bit_length() - 3) + 1] += 1  # rows of the convolutions up to the block
    assert torch.equal(generator.planes_from(features, skip, other, block), generator.planes(ws))


def test_the_backbone_stops_at_its_own_blocks_alone() -> None:
    generator = made()
    ws = torch.randn(1, generator.num_ws, 16)
    with pytest.raises(UnknownNameError, match=r"no block of resolution 24; it has 4, 8, 16, 32"):
        generator.features_at(ws, 24)
    features, skip = generator.features_at(ws, 32)
    with pytest.raises(UnknownNameError, match="is the backbone's last"):
        generator.planes_from(features, skip, ws, 32)


def test_rendering_is_deterministic_unless_asked() -> None:
    generator = made()
    planes = torch.randn(1, 3, 6, 32, 32)
    view = look_at(0.1, 0.0), default_intrinsics()

    def features(**options: object) -> Tensor:
        return generator.render(planes, *view, **options).features  # type: ignore[arg-type]

    assert torch.equal(features(), features())
    drawn = [features(sampling=generator.sampling(rng=torch.Generator().manual_seed(k))) for k in (1, 1, 2)]
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])
    assert features(resolution=(4, 6)).shape == (1, 32, 4, 6)


def test_trains_in_float64_to_ws() -> None:
    generator = made().double()
    ws = torch.randn(1, generator.num_ws, 16, dtype=torch.float64, requires_grad=True)
    pose, k = look_at(torch.zeros(1).double(), torch.zeros(1).double()), default_intrinsics().double()
    found = generator.synthesis(ws, pose, k)
    (found.image.square().mean() + found.depth.mean()).backward()
    assert ws.grad is not None and torch.isfinite(ws.grad).all() and ws.grad.abs().sum() > 0


def test_configuration_round_trip_and_unknown_entries() -> None:
    assert GeneratorConfig.from_dict(BASE.to_dict()) == BASE
    with pytest.raises(CheckpointError, match="unknown entries: colour"):
        GeneratorConfig.from_dict({**BASE.to_dict(), "colour": 1})
