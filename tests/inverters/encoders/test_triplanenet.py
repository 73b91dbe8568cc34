"""TriPlaneNet on a tiny generator: what its branches see, what they are trained by, which files it takes."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

from inverters.encoders.irse import IrseConfig
from inverters.encoders.psp import PspConfig
from inverters.encoders.triplanenet import (
    OFFSETS,
    OffsetConfig,
    OffsetEncoder,
    Release,
    TriPlaneNet,
    TriPlaneNetConfig,
    Upsampling,
    load_triplanenet,
)
from inverters.errors import CheckpointError, FingerprintError
from inverters.generators.eg3d import Generator
from inverters.generators.load import load_generator
from inverters.rendering.cameras import intrinsics, look_at, mirror
from tests.inverters.generators.rule import SMALL
from tests.inverters.gradients import reaches
from tests.inverters.tiny import tiny_generator

VARIANTS: list[tuple[Release, Upsampling]] = [("v1", "shuffle"), ("v2", "shuffle"), ("v2", "nearest")]
BODY, UNITS = (16, 16, 16, 16), (1, 1, 1, 2)


def small(release: Release = "v1", upsampling: Upsampling = "shuffle", **changes: Any) -> TriPlaneNet:
    """Sized for the tiny generator: 6 rows of 16, planes of 3 x 4 channels and half the picture's side."""
    torch.manual_seed(4)
    sizes: dict[str, Any] = {
        "widths": (16, 16, 16, 16),
        "size": 32,
        "plane_resolution": 16,
        "plane_channels": 12,
    }
    offsets = OffsetConfig(release, upsampling, **sizes | {"body": BODY, "units": UNITS} | changes)
    codes = PspConfig(32, 6, 16, 2, 2, IrseConfig(3, BODY, UNITS))
    return TriPlaneNet(TriPlaneNetConfig(codes, offsets)).eval()


def view(frames: int = 2) -> tuple[Tensor, Tensor]:
    """Cameras that differ from their mirror images, and a principal point that is not in the middle."""
    inside = intrinsics(n=frames)
    inside[:, 0, 2], inside[:, 0, 1] = 0.45, 0.03
    return look_at(torch.linspace(0.2, 0.4, frames), torch.zeros(frames)), inside


def pictures(frames: int = 2) -> Tensor:
    return torch.randn(frames, 3, 32, 32, generator=torch.Generator().manual_seed(6)).clamp(-1, 1)


@torch.no_grad()
def test_the_picture_is_the_render_of_planes_and_offset() -> None:
    network, generator, camera = small(), tiny_generator(), view()
    network.latent_avg += torch.arange(6.0)[:, None]
    found = network(generator, pictures(), *camera)
    assert torch.equal(found.codes, network.psp_encoder(pictures()) + torch.arange(6.0)[:, None])
    assert found.planes.shape == found.offset.shape == (2, 3, 4, 16, 16)
    render = generator.synthesis(found.codes, *camera).image
    torch.testing.assert_close(found.first, render)
    seen = torch.cat([found.first, pictures() - found.first], dim=1)
    torch.testing.assert_close(found.offset, network.triplanenet_encoder(seen, found.planes))
    moved = generator.synthesis(found.codes, *camera, planes=found.planes + found.offset).image
    torch.testing.assert_close(found.image, moved)
    assert not torch.allclose(found.image, found.first, atol=1e-3)


@torch.no_grad()
def test_a_refinement_replaces_the_offset_by_one_from_the_last_render() -> None:
    network, generator, camera = small(), tiny_generator(), view()
    last = network(generator, pictures(), *camera)
    for passes in (1, 2):
        found = network(generator, pictures(), *camera, passes=passes)
        seen = torch.cat([last.image, pictures() - last.image], dim=1)
        torch.testing.assert_close(found.offset, network.triplanenet_encoder(seen, last.planes))
        moved = generator.synthesis(found.codes, *camera, planes=last.planes + found.offset).image
        torch.testing.assert_close(found.image, moved)
        last = found
    for release, passes in (("v1", -1), ("v2", 1)):
        with pytest.raises(ValueError, match=f"{passes} passes of cascaded refinement"):
            small(release)(generator, pictures(), *camera, passes=passes)


@torch.no_grad()
def test_v2_sees_the_mirrored_picture_beside_the_mirrored_view() -> None:
    network, generator, (cam2world, inside) = small("v2"), tiny_generator(), view()
    seen: list[Tensor] = []
    network.triplanenet_encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    found = network(generator, pictures(), cam2world, inside)
    inside = inside.clone()
    inside[:, 0, 2], inside[:, 0, 1] = 0.55, -0.03
    back = generator.synthesis(found.codes, mirror(cam2world), inside).image
    want = torch.cat([found.first, pictures() - found.first, pictures().flip(-1) - back], dim=1)
    torch.testing.assert_close(seen[0], want)


@pytest.mark.parametrize(("release", "upsampling"), VARIANTS)
def test_each_branch_learns_from_its_own_picture(release: Release, upsampling: Upsampling) -> None:
    network, generator = small(release, upsampling).train(), tiny_generator()
    found = network(generator, pictures(4), *view(4))
    reaches(network.triplanenet_encoder, found.image)
    assert all(p.grad is None for p in network.psp_encoder.parameters())
    reaches(network.psp_encoder, found.first)


@torch.no_grad()
def test_only_v2_sees_the_planes() -> None:
    for release, upsampling in VARIANTS:
        encoder = small(release, upsampling).triplanenet_encoder
        seen = torch.randn(1, encoder.config.backbone.channels, 32, 32)
        a, b = (encoder(seen, planes) for planes in torch.randn(2, 1, 3, 4, 16, 16))
        assert torch.equal(a, b) == (release == "v1")


@pytest.mark.parametrize("variant", OFFSETS)
def test_sizes_of_the_bundled_generator(variant: Any) -> None:
    """Planes of 128 from pictures of 256."""
    with torch.device("meta"):
        encoder = OffsetEncoder(dataclasses.replace(OFFSETS[variant], plane_resolution=128))
        seen = torch.zeros(1, encoder.config.backbone.channels, 256, 256)
        assert encoder(seen, torch.zeros(1, 3, 32, 128, 128)).shape == (1, 3, 32, 128, 128)


@torch.no_grad()
def test_a_small_network_runs_on_the_bundled_generator() -> None:
    generator = load_generator("bundled")
    offsets = OffsetConfig(widths=(16, 16, 16, 16), body=BODY, units=UNITS)
    config = TriPlaneNetConfig.sized_for(
        generator.config, PspConfig(backbone=IrseConfig(3, BODY, UNITS)), offsets
    )
    network = TriPlaneNet(config).eval()
    sampling = generator.sampling(coarse=4, fine=4)
    found = network(generator, torch.zeros(1, 3, 256, 256), *view(1), sampling=sampling)
    assert found.codes.shape == (1, generator.num_ws, 512)
    assert found.image.shape == (1, 3, 256, 256) and bool(found.image.isfinite().all())


def test_the_paper_has_one_prelu_after_a_step() -> None:
    released, paper = (set(small(last_prelu=last).state_dict()) for last in (True, False))
    assert released - paper == {f"triplanenet_encoder.up{k}.conv.double_conv.5.weight" for k in (1, 2, 3, 4)}
    assert paper < released


@pytest.mark.parametrize(
    "wrong", [{"plane_resolution": 8}, {"size": 40}, {"size": 16}, {"widths": (16, 16, 18, 16)}]
)
def test_sizes_that_do_not_fit(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        small(**wrong)


def test_a_generator_with_other_planes() -> None:
    with pytest.raises(FingerprintError, match=r"are \(6, 16, 12, 16\) and \(8, 16, 12, 32\)$"):
        small()(tiny_generator(plane_resolution=32), pictures(), *view())


@pytest.fixture(scope="module")
def eg3d() -> Generator:
    """With rows and planes of the release, but few channels."""
    return Generator(SMALL).requires_grad_(False)


def file_of(generator: Generator, stem: int = 6, second: int = 384, **more: Tensor) -> dict[str, Any]:
    """A file that says what it is, without most of its weights."""
    state = {f"psp_encoder.styles.{k}.linear.bias": torch.zeros(512) for k in range(14)}
    state["triplanenet_encoder.input_layer.0.weight"] = torch.zeros(64, stem, 3, 3)
    state["triplanenet_encoder.up2.conv.double_conv.1.weight"] = torch.zeros(second, 1, 3, 3)
    state |= {f"decoder.{name}": tensor for name, tensor in generator.state_dict().items()}
    return {"state_dict": state | more, "opts": {}, "step": 1}


@pytest.mark.parametrize(("stem", "second"), [(6, 384), (9, 384), (9, 256)])
def test_a_file_of_each_kind_without_most_weights(eg3d: Generator, stem: int, second: int) -> None:
    with pytest.raises(
        CheckpointError, match=r"^'a\.pt' does not fit its architecture: \d+ tensors missing, 0 unknown"
    ):
        load_triplanenet(file_of(eg3d, stem, second), eg3d, what="'a.pt'")


@pytest.mark.parametrize(("stem", "second"), [(6, 256), (3, 384), (9, 100)])
def test_a_second_branch_of_no_known_kind(eg3d: Generator, stem: int, second: int) -> None:
    with pytest.raises(CheckpointError, match=rf"its stem is \[64, {stem}\] and its 'up2' \[{second}, 1\]"):
        load_triplanenet(file_of(eg3d, stem, second), eg3d, what="'a.pt'")


def test_a_file_of_another_generator(eg3d: Generator) -> None:
    name = "backbone.synthesis.b64.conv1.weight"
    own = eg3d.state_dict()[name]
    with pytest.raises(CheckpointError, match="does not fit its architecture"):
        load_triplanenet(file_of(eg3d, **{f"decoder.{name}": own.half()}), eg3d)
    with pytest.raises(FingerprintError, match=f"another generator than '.*': '{name}' differs"):
        load_triplanenet(file_of(eg3d, **{f"decoder.{name}": own * 1.01}), eg3d)
    with pytest.raises(FingerprintError, match="do not fit"):
        load_triplanenet(file_of(eg3d), tiny_generator())


def test_weights_of_no_part(eg3d: Generator) -> None:
    with pytest.raises(CheckpointError, match=r"has 'encoder\.x'; expected are only names that begin with"):
        load_triplanenet(file_of(eg3d, **{"encoder.x": torch.zeros(1)}), eg3d)
