"""GOAE on a small generator: shapes, the mix, edits, gradients, and files that do not fit."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torchvision.transforms.functional import gaussian_blur

from inverters.encoders.goae import Cameras, Goae, GoaeSettings
from inverters.encoders.goae_afa import Afa, AfaConfig, load_afa
from inverters.encoders.goae_encoder import GoaeEncoder, GoaeEncoderConfig, load_goae_encoder
from inverters.encoders.goae_mix import blur, mix_planes, splat, visible_masks
from inverters.encoders.goae_network import GoaeNetwork, begin_at_codes
from inverters.encoders.irse import IrseConfig
from inverters.encoders.swin import SwinConfig, relative_index, shift_mask, whole, windows
from inverters.errors import CheckpointError, FingerprintError
from inverters.generators.config import GeneratorConfig
from inverters.generators.eg3d import Generator
from inverters.generators.load import BUNDLED
from inverters.generators.torch_file import read_torch_file
from inverters.rendering.cameras import intrinsics, look_at
from inverters.rendering.planes import sample_planes
from tests.inverters.gradients import reaches
from tests.inverters.tiny import CONFIG, tiny_generator

TINY = dataclasses.replace(CONFIG, plane_resolution=32, img_resolution=64, channel_max=16)
SWIN = SwinConfig(
    image_size=64, width=8, depths=(2, 1, 1, 1), heads=(1, 2, 2, 4), window=4, pretrained_windows=(0, 0, 2, 0)
)
ENCODER = GoaeEncoderConfig.sized_for(TINY, swin=SWIN)
AFA = AfaConfig.sized_for(TINY, block=8, body=IrseConfig(widths=(64, 64, 64), units=(1, 1, 1)))
VIEWS = Cameras(look_at([0.0, 0.3], [0.1, 0.0]), intrinsics(n=2))


@pytest.fixture
def networks() -> tuple[GoaeEncoder, Afa]:
    torch.manual_seed(1)
    return GoaeEncoder(ENCODER), Afa(AFA).eval()


@pytest.fixture(scope="module")
def generator() -> Generator:
    """Planes of 3 x 4 x 32 x 32 from 8 rows of 16, and a mean w that is not zero."""
    made = tiny_generator(plane_resolution=32, img_resolution=64, channel_max=16)
    made.backbone.mapping.w_avg += 0.1 * torch.arange(16)
    return made


@pytest.fixture
def pictures() -> Tensor:
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(3)) * 2 - 1


def goae(generator: Generator, networks: tuple[GoaeEncoder, Afa], **settings: object) -> Goae:
    return Goae(generator, *networks, GoaeSettings(**settings))  # type: ignore[arg-type]


# The encoder


def test_rows_open_group_by_group(networks: tuple[GoaeEncoder, Afa], pictures: Tensor) -> None:
    encoder, _ = networks
    found = [encoder(pictures, opened) for opened in range(4)]
    assert all(ws.shape == (2, 8, 16) for ws in found)
    assert torch.equal(found[0], found[0][:, :1].expand_as(found[0]))
    for opened, rows in enumerate(ENCODER.rows.values(), start=1):
        changed = (found[opened] != found[opened - 1]).any(dim=(0, 2)).nonzero().flatten().tolist()
        assert changed == list(range(8))[rows]
    torch.testing.assert_close(found[3][1:], encoder(pictures[1:]))


def test_shapes_for_the_bundled_generator() -> None:
    config = GeneratorConfig.from_dict(json.loads(BUNDLED.with_suffix(".json").read_text())["config"])
    encoder = GoaeEncoder(GoaeEncoderConfig.sized_for(config, swin=SWIN))
    assert encoder(torch.zeros(1, 3, 64, 64)).shape == (1, config.num_ws, config.w_dim)
    afa = Afa(AfaConfig.sized_for(config, body=AFA.body)).eval()
    features = torch.zeros(1, config.channels(32), 32, 32)
    residual = torch.zeros(1, 3, config.img_resolution, config.img_resolution)
    assert afa(features, residual).shape == features.shape


def test_pyramids_that_cannot_be_are_refused() -> None:
    for wrong in ({"image_size": 72}, {"image_size": 192}, {"heads": (1, 2)}):
        with pytest.raises(ValueError, match=r"whole tokens|do not fill|each stage"):
            SwinConfig(**{"window": 16} | wrong)  # type: ignore[arg-type]


def test_windows_are_cut_and_joined() -> None:
    grid = torch.arange(2 * 12 * 12 * 3).reshape(2, 12, 12, 3)
    parts = windows(grid, 4)
    assert torch.equal(parts[9 + 4, 5], grid[1, 5, 5]) and torch.equal(whole(parts, 12), grid)


def test_shifted_windows_see_only_neighbours() -> None:
    at = torch.arange(12)
    rolled = torch.roll(torch.stack(torch.meshgrid(at, at, indexing="ij"), dim=-1), (-2, -2), (0, 1))
    inside = windows(rolled[None], 4)
    near = (inside[:, :, None] - inside[:, None]).abs().amax(dim=-1) < 4
    assert torch.equal(shift_mask(12, 4, 2) == 0, near)


def test_index_of_offsets() -> None:
    index = relative_index(3)
    at = torch.stack(torch.meshgrid(torch.arange(3), torch.arange(3), indexing="ij"), -1).reshape(9, 2)
    offsets = at[:, None] - at + 2
    assert torch.equal(index, offsets[..., 0] * 5 + offsets[..., 1])


def test_every_weight_learns(
    generator: Generator, networks: tuple[GoaeEncoder, Afa], pictures: Tensor
) -> None:
    encoder, afa = networks
    inversion = goae(generator, networks).invert(pictures, VIEWS)
    reaches(nn.ModuleList([encoder, afa]), inversion.planes.refined, inversion.w_view.image)


def features_and_residual(seed: int) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(2, 16, 8, 8, generator=rng) * 3, torch.rand(2, 3, 64, 64, generator=rng) * 4 - 2


def test_a_run_begins_where_the_alignment_changes_nothing(networks: tuple[GoaeEncoder, Afa]) -> None:
    afa = networks[1]
    begin_at_codes(afa)
    for seed in range(5):
        features, residual = features_and_residual(seed)
        gamma, beta = afa.modulation(features, residual)
        torch.testing.assert_close(gamma, torch.ones_like(gamma))
        torch.testing.assert_close(beta, torch.zeros_like(beta), atol=1e-5, rtol=0)
        torch.testing.assert_close(afa(features, residual), features)
    features, residual = features_and_residual(9)
    (afa(features, residual) - features).sub(1).square().sum().backward()
    learns = [
        bool(layer.weight.grad.any()) for layer in (afa.cross_att_beta.linear2, afa.cross_att_gamma.linear2)
    ]
    assert all(learns)


def test_both_stages_have_the_names_of_their_files() -> None:
    with torch.device("meta"):
        network, parts = GoaeNetwork(), {"encoder": GoaeEncoder(), "afa": Afa()}
    names = {f"{stage}.{name}" for stage, part in parts.items() for name in part.state_dict()}
    assert set(network.state_dict()) == names


# The whole


def test_inversion_begins_at_the_planes_of_w(
    generator: Generator, networks: tuple[GoaeEncoder, Afa], pictures: Tensor
) -> None:
    method = goae(generator, networks)
    with torch.no_grad():
        ws = Goae(generator, networks[0]).w_plus(pictures)
        found = method.invert(pictures, VIEWS)
    assert torch.equal(found.planes.ws, ws)
    torch.testing.assert_close(ws - generator.backbone.mapping.w_avg, networks[0](pictures))
    torch.testing.assert_close(found.planes.base, generator.planes(ws))
    assert found.planes.raw.depth.shape == (2, 1, 16, 16) and found.w_view.image.shape == (2, 3, 64, 64)


def test_identity_edit_returns_the_inversion(
    generator: Generator, networks: tuple[GoaeEncoder, Afa], pictures: Tensor
) -> None:
    for edit in ("released", "paper"):
        method = goae(generator, networks, edit=edit)
        with torch.no_grad():
            found = method.invert(pictures, VIEWS)
            same = method.edit(found, found.planes.ws, VIEWS)
        torch.testing.assert_close(same.refined, found.planes.refined, rtol=1e-4, atol=1e-4)
        assert torch.equal(same.base, found.planes.base)


@torch.no_grad()
def test_edit_moves_features_by_the_difference_of_codes(
    generator: Generator, networks: tuple[GoaeEncoder, Afa], pictures: Tensor
) -> None:
    released = goae(generator, networks)
    found = released.invert(pictures, VIEWS)
    ws = found.planes.ws + 0.5
    features, skip = generator.features_at(ws, 8)
    moved = found.refined_features + features - found.features
    for form, later in (("released", found.planes.ws), ("paper", ws)):
        edited = goae(generator, networks, edit=form).edit(found, ws, VIEWS)
        torch.testing.assert_close(edited.refined, generator.planes_from(moved, skip, later, 8))
        torch.testing.assert_close(edited.base, generator.planes(ws))
        assert torch.equal(edited.ws, ws)


def test_residual_of_the_paper_has_the_other_sign(
    generator: Generator, networks: tuple[GoaeEncoder, Afa], pictures: Tensor
) -> None:
    rendered, features = torch.zeros_like(pictures), torch.randn(2, 16, 8, 8)
    released, paper = (goae(generator, networks, residual=form) for form in ("released", "paper"))
    torch.testing.assert_close(
        released.align(pictures, rendered, features), paper.align(-pictures, rendered, features)
    )
    torch.testing.assert_close(
        released.align(pictures, rendered, features), networks[1](features, rendered - pictures)
    )


def test_networks_of_another_generator_are_refused(
    generator: Generator, networks: tuple[GoaeEncoder, Afa]
) -> None:
    encoder, afa = networks
    other = Generator(dataclasses.replace(TINY, plane_resolution=64))
    with pytest.raises(FingerprintError, match="8 x 16 numbers, the generator's 10 x 16"):
        Goae(other, encoder, afa)
    wide = Afa(dataclasses.replace(AFA, channels=32))
    with pytest.raises(FingerprintError, match="refines 32 channels, the generator has 16 at 8 x 8"):
        Goae(generator, encoder, wide)
    with pytest.raises(ValueError, match="weights of the alignment"):
        Goae(generator, encoder).invert(torch.zeros(1, 3, 64, 64), VIEWS)


# The mix


def test_blur_is_that_of_torchvision() -> None:
    masks = (torch.rand(2, 32, 32) > 0.7).float()
    for sigma in (1.0, 1.5, 2.0):
        torch.testing.assert_close(blur(masks, sigma), gaussian_blur(masks, [9, 9], [sigma, sigma]))


@pytest.mark.parametrize("axes", ["original", "fixed"])
def test_a_point_marks_the_texel_that_it_reads(axes: str) -> None:
    points = torch.rand(1, 40, 3) - 0.5
    marked = visible_masks(points, 64, axes=axes, form="paper", sigma=0.01)  # type: ignore[arg-type]
    nearest = sample_planes(marked[:, :, None], (points * 64).floor() / 64 + 1 / 128, axes=axes)  # type: ignore[arg-type]
    assert (nearest > 0.99).all() and marked.mean() < 0.05


def test_points_outside_mark_the_border() -> None:
    found = splat(torch.tensor([[[9.0, 0.0], [-9.0, -9.0]]]), 8, box_warp=2.0)
    assert found.nonzero().tolist() == [[0, 0, 0], [0, 4, 7]]


def test_mix_takes_each_side_whole() -> None:
    refined, base = torch.randn(2, 3, 4, 16, 16), torch.randn(2, 3, 4, 16, 16)
    masks = visible_masks(torch.full((2, 1, 3), 0.2), 16)
    assert torch.equal(masks[:, 1:], torch.ones_like(masks[:, 1:]))
    hidden = torch.zeros_like(masks)
    assert torch.equal(mix_planes(refined, base, torch.ones_like(masks)), refined)
    assert torch.equal(mix_planes(refined, base, hidden), base)
    mixed = mix_planes(refined, base, masks)
    assert torch.equal(mixed[:, 1:], refined[:, 1:])


def test_paper_masks_all_planes() -> None:
    points = torch.rand(1, 400, 3) * 0.4
    masks = visible_masks(points, 32, form="paper")
    assert torch.equal(masks[:, 0], visible_masks(points, 32)[:, 0])
    assert ((masks > 0.5).float().mean((0, 2, 3)) < 0.5).all() and (masks.amax((0, 2, 3)) > 0.9).all()


def test_drawn_blur_follows_its_generator() -> None:
    points = torch.rand(1, 300, 3) - 0.5
    drawn = [visible_masks(points, 32, sigma=torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])


# Files


def test_a_file_of_weights_returns(
    networks: tuple[GoaeEncoder, Afa], pictures: Tensor, tmp_path: Path
) -> None:
    encoder, afa = networks
    tables = dict(encoder.named_buffers())
    assert any(name.endswith("attn_mask") for name in tables)
    for state in (encoder.state_dict(), encoder.state_dict() | tables):
        torch.save({f"module.{name}": value for name, value in state.items()}, tmp_path / "encoder.pt")
        found = load_goae_encoder(read_torch_file(tmp_path / "encoder.pt"), ENCODER)
        torch.testing.assert_close(found(pictures), encoder(pictures))
    features = torch.randn(2, 16, 8, 8)
    counted = {k: v for k, v in afa.state_dict().items() if not k.endswith("num_batches_tracked")}
    torch.testing.assert_close(load_afa(counted, AFA)(features, pictures), afa(features, pictures))
    assert not any(p.requires_grad or p.is_meta for p in (*found.parameters(), *found.buffers()))


KEY = "mapper_base_channel.0.weight"
MASK = "swin_model.layers.0.blocks.1.attn_mask"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({KEY: None}, f"1 tensors missing.*'{KEY}'.*expected .64, 64.*found none"),
        ({"mapper_base.weight": torch.zeros(2)}, "1 unknown.*'mapper_base.weight'.*expected none"),
        ({KEY: torch.zeros(64, 63)}, f"'{KEY}'.*expected .64, 64.*found .64, 63"),
        ({KEY: torch.zeros(64, 64, dtype=torch.int64)}, f"'{KEY}' as int64; expected float32"),
        ({KEY: torch.full((64, 64), float("nan"))}, f"'{KEY}' with 4096 of 4096 weights that are not finite"),
        ({KEY: "text"}, f"'{KEY}', a str where a tensor"),
        ({MASK: torch.zeros(16, 16, 16)}, f"'{MASK}' that differs by 1e\\+02 from"),
        ({MASK: torch.zeros(1, 16, 16)}, f"'{MASK}' of shape .1, 16, 16.; expected .16, 16, 16"),
        (
            {MASK.replace("blocks.1", "blocks.0"): torch.zeros(1)},
            "blocks.0.attn_mask'; this architecture has no",
        ),
    ],
)
def test_a_file_that_does_not_fit_is_named(
    networks: tuple[GoaeEncoder, Afa], changes: dict[str, object], message: str
) -> None:
    state: dict[str, object] = networks[0].state_dict() | changes  # type: ignore[operator]
    state = {name: value for name, value in state.items() if value is not None}
    with pytest.raises(CheckpointError, match=message) as caught:
        load_goae_encoder(state, ENCODER, "'encoder.pt'")
    assert str(caught.value).startswith("'encoder.pt'") and "\n" not in str(caught.value)
