"""A small E3DGE: shapes, gradients, geometry, the paper's choices."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor, nn

from inverters.encoders.e3dge_align import FeatureFilm, SpatialFeatureTransform
from inverters.encoders.e3dge_encoder import E3DGEEncoder
from inverters.encoders.e3dge_local import LocalEncoder, film, inside, look_up, positional_encoding
from inverters.encoders.e3dge_scene import StyleSDFScene
from inverters.encoders.hourglass import StackedHourglass
from inverters.encoders.pose_net import PoseNet
from inverters.generators.stylesdf_renderer import orbit_poses
from tests.inverters.encoders.e3dge_tiny import CONFIG, HOURGLASS, LOCAL, tiny_e3dge
from tests.inverters.encoders.rule import gauss
from tests.inverters.generators.stylesdf_tiny import TINY
from tests.inverters.gradients import reaches


def pictures(n: int = 2, size: int = 40, seed: int = 1) -> Tensor:
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def poses(*azimuths: float) -> Tensor:
    azimuth = torch.tensor(azimuths)
    return orbit_poses(azimuth, torch.zeros_like(azimuth))


def silenced(local: LocalEncoder) -> None:
    """Let the head return zero modulation."""
    with torch.no_grad():
        for parameter in local.local_feat_to_tex_modulations_linear.parameters():
            parameter.zero_()


@torch.no_grad()
def test_shapes_of_the_whole_pipeline() -> None:
    network = tiny_e3dge()
    reference = network.invert(pictures())
    assert reference.codes.renderer.shape == (2, 3, 6) and reference.codes.decoder.shape == (2, 6, 7)
    assert reference.camera.shape == (2, 3, 4)
    assert reference.features.shape == (2, 16, 4, 4)
    query = network(reference, poses(0.3, -0.1))
    assert query.image.shape == (2, 3, 16, 16) and query.thumb.shape == (2, 3, 4, 4)
    assert query.fused.shape == query.features_2d.shape == query.features_3d.shape == (2, 4, 4, 5, 16)
    assert query.visible.shape == (2, 4, 4)


def test_gradients_reach_all_parameters() -> None:
    network = tiny_e3dge()
    reference = network.invert(pictures(), poses(0.1, -0.1))
    edited = network.edit(reference, gauss(1, 1, 6), gauss(2, 1, 7))
    query = network(edited, poses(0.0, 0.1))
    score, angles = network.pose(pictures(size=network.pose.size))
    mapping = ("generator.style.", "generator.decoder.style.")  # codes come from the encoder
    reaches(network, query.image, query.thumb, score, angles, but=mapping)


@torch.no_grad()
def test_each_picture_of_a_batch_is_alone() -> None:
    network = tiny_e3dge()
    together = network(network.invert(pictures()), poses(0.3, -0.1))
    alone = network(network.invert(pictures()[1:]), poses(-0.1))
    torch.testing.assert_close(together.image[1:], alone.image, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_the_branch_changes_the_colour_alone() -> None:
    network = tiny_e3dge()
    reference = network.invert(pictures(1), poses(0.1))
    query = network(reference)
    plain = network.generator.render(reference.codes, reference.camera)
    assert torch.equal(query.view.depth[:, 0], plain.shape.depth)
    assert not torch.allclose(query.thumb, plain.thumb, atol=1e-4)


@torch.no_grad()
def test_zero_modulation_gives_the_picture_of_the_codes() -> None:
    network = tiny_e3dge()
    silenced(network.branch.local)
    reference = network.invert(pictures(1), poses(0.1))
    plain = network.generator.render(reference.codes, poses(-0.2))
    assert torch.equal(network(reference, poses(-0.2)).image, plain.image)


@torch.no_grad()
def test_an_edit_keeps_the_original_residual_for_the_query() -> None:
    network = tiny_e3dge()
    reference = network.invert(pictures(1), poses(0.1))
    edited = network.edit(reference, torch.ones(1, 6), torch.ones(1, 7))
    torch.testing.assert_close(edited.codes.renderer, reference.codes.renderer + 1)
    torch.testing.assert_close(edited.codes.decoder, reference.codes.decoder + 1)
    assert torch.equal(edited.residual, reference.residual) and not torch.equal(edited.moved, edited.residual)
    assert reference.moved is reference.residual


@torch.no_grad()
def test_samples_project_to_their_own_pixels() -> None:
    network = tiny_e3dge()
    scene: StyleSDFScene = network.scene
    camera = poses(0.4)
    view = scene.view(network.encode(pictures(1)), camera)
    found = scene.positions(view.points, camera)
    centres = (torch.arange(4) + 0.5) / 2 - 1
    grid = torch.stack(torch.meshgrid(centres, centres, indexing="xy"), dim=-1)
    torch.testing.assert_close(found, grid[None, :, :, None].expand_as(found), atol=1e-5, rtol=0)
    assert bool(inside(scene.positions(view.surface, camera)).all())
    points = torch.tensor([[[0.1, 0.0, 0.0], [0.11, 0.0, 0.0], [0.0, -0.11, 0.0]]])
    assert inside(scene.positions(points, poses(0.0))).tolist() == [[1, 0, 0]]  # tan(6 degrees) = 0.105


def test_look_up_reads_pixel_centres_and_zeros_outside() -> None:
    features = gauss(3, 1, 3, 2, 4)
    positions = torch.tensor([[[-0.75, -0.5], [0.75, 0.5], [3.0, 0.0]]])
    found = look_up(features, positions)
    torch.testing.assert_close(
        found[0], torch.stack([features[0, :, 0, 0], features[0, :, 1, 3], torch.zeros(3)])
    )


def test_positional_encoding_has_the_frequencies_in_order() -> None:
    x = torch.tensor([[0.1, -0.2, 0.3]])
    want = torch.cat([x, x.sin(), x.cos(), (2 * x).sin(), (2 * x).cos()], dim=-1)
    torch.testing.assert_close(positional_encoding(x, 2), want)


def test_film_of_paper_and_release_differ_by_the_feature() -> None:
    x, alpha, beta = gauss(4, 3, 5, 4)
    torch.testing.assert_close(film(x, alpha, beta, "residual"), (1 + alpha) * x + beta)
    torch.testing.assert_close(film(x, alpha, beta, "plain"), alpha * x + beta)
    for kind, want in (("residual", x), ("plain", torch.zeros(5, 4))):
        transform = SpatialFeatureTransform(4, kind)
        for parameter in (*transform.scale.parameters(), *transform.shift.parameters()):
            nn.init.zeros_(parameter)
        torch.testing.assert_close(transform(gauss(5, 5, 5), x), want)


@torch.no_grad()
def test_the_papers_texture_row_comes_from_the_middle_level() -> None:
    released = tiny_e3dge().encoder
    paper = E3DGEEncoder(dataclasses.replace(CONFIG.encoder, texture_level="middle")).eval()
    paper.load_state_dict(released.state_dict())
    first, second = (encoder(pictures(1, 32)).renderer for encoder in (released, paper))
    assert torch.equal(first[:, :-1], second[:, :-1]) and not torch.equal(first[:, -1], second[:, -1])


@torch.no_grad()
def test_an_encoder_without_decoder_head_leaves_that_code_at_its_mean() -> None:
    encoder = dataclasses.replace(CONFIG.encoder, decoder_head=False)
    network = tiny_e3dge(dataclasses.replace(CONFIG, encoder=encoder))
    codes = network.encode(pictures(2))
    assert torch.equal(codes.decoder, network.mean_decoder.expand(2, 6, -1))


@pytest.mark.parametrize("variant", ["training", "paper"])
def test_the_other_variants_learn_everywhere(variant: str) -> None:
    local = LocalEncoder(dataclasses.replace(LOCAL, variant=variant))
    features = local(gauss(6, 1, 3, 16, 16), gauss(7, 1, 1, 16, 16))
    reaches(local, *local.modulation(features.flatten(2).mT, gauss(8, 1, 16, 3)))


@torch.no_grad()
def test_the_papers_fusion_does_not_know_what_is_visible() -> None:
    condition, features = gauss(11, 1, 5, 5), gauss(12, 1, 5, 4)
    hidden = torch.cat([condition[..., :-1], 1 - condition[..., -1:]], dim=-1)
    for fuse, same in ((FeatureFilm(4), True), (SpatialFeatureTransform(4), False)):
        assert torch.equal(fuse(condition, features), fuse(hidden, features)) == same
    branch = dataclasses.replace(CONFIG.branch, fusion="paper")
    network = tiny_e3dge(dataclasses.replace(CONFIG, branch=branch))
    assert bool(torch.isfinite(network(network.invert(pictures(1))).image).all())


def test_deeper_networks_keep_their_shapes() -> None:
    hourglass = StackedHourglass(dataclasses.replace(HOURGLASS, stacks=1, depth=2))
    assert hourglass(gauss(9, 1, 4, 32, 32)).shape == (1, 16, 8, 8)
    score, angles = PoseNet((4, 6, 6))(gauss(10, 2, 3, 8, 8))
    assert score.shape == (2, 1) and angles.shape == (2, 2)


def test_an_encoder_for_another_generator() -> None:
    with pytest.raises(ValueError, match=r"are \(3, 6, 7, 10\), \(3, 6, 7, 12\) in StyleSDF"):
        dataclasses.replace(CONFIG, generator=dataclasses.replace(TINY, width=12))
