"""E3DGE's local branch on a small EG3D."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from inverters.encoders.e3dge_branch import BranchConfig, LocalBranch
from inverters.encoders.e3dge_local import inside
from inverters.encoders.e3dge_scene import TriplaneScene
from inverters.generators.eg3d import Generator
from inverters.rendering.cameras import to_label
from tests.inverters.encoders.e3dge_tiny import LOCAL
from tests.inverters.gradients import reaches
from tests.inverters.tiny import cameras, tiny_generator

CONFIG = BranchConfig(size=16, local=dataclasses.replace(LOCAL, modulated=4), aligner_widths=(4, 5, 6, 7))


@pytest.fixture(scope="module")
def generator() -> Generator:
    return tiny_generator()


@pytest.fixture
def branch() -> LocalBranch:
    with torch.random.fork_rng():
        torch.manual_seed(2)
        return LocalBranch(CONFIG).eval()


def setting(generator: Generator) -> tuple[Tensor, Tensor, Tensor, tuple[Tensor, Tensor]]:
    """Codes of one person, two labels, and a picture of another one."""
    z = torch.randn(2, 16, generator=torch.Generator().manual_seed(4))
    ws = generator.mapping(z)
    cam2world, intrinsics = cameras(2)
    image = generator.synthesis(ws[1:], cam2world[:1], intrinsics[:1]).image_raw
    return ws[:1], to_label(cam2world, intrinsics), image, (cam2world, intrinsics)


@pytest.mark.parametrize("white_back", [False, True])
@torch.no_grad()
def test_a_view_is_the_generators_own_rendering(white_back: bool) -> None:
    generator = tiny_generator(white_back=white_back)
    ws, labels, _, (cam2world, intrinsics) = setting(generator)
    scene = TriplaneScene(generator)
    view = scene.view(ws, labels[:1])
    want = generator.synthesis(ws, cam2world[:1], intrinsics[:1])
    image, thumb = scene.paint(view, ws, view.hidden)
    torch.testing.assert_close(view.thumb, want.image_raw, atol=1e-4, rtol=0)
    torch.testing.assert_close(view.depth, want.depth, atol=1e-4, rtol=0)
    torch.testing.assert_close(thumb, want.image_raw, atol=1e-4, rtol=0)
    torch.testing.assert_close(image, want.image, atol=1e-3, rtol=0)


@torch.no_grad()
def test_one_pass_of_samples_will_do(generator: Generator) -> None:
    ws, labels, *_ = setting(generator)
    view = TriplaneScene(generator, generator.sampling(8, 0), resolution=4).view(ws, labels[:1])
    assert view.points.shape == (1, 4, 4, 8, 3) and view.hidden.shape == (1, 4, 4, 8, 4)


@torch.no_grad()
def test_samples_project_to_their_own_pixels(generator: Generator) -> None:
    ws, labels, *_ = setting(generator)
    scene = TriplaneScene(generator)
    view = scene.view(ws, labels[:1])
    found = scene.positions(view.points, labels[:1])
    centres = (torch.arange(16) + 0.5) / 8 - 1
    grid = torch.stack(torch.meshgrid(centres, centres, indexing="xy"), dim=-1)
    torch.testing.assert_close(found, grid[None, :, :, None].expand_as(found), atol=1e-5, rtol=0)
    assert bool(inside(scene.positions(view.surface, labels[:1])).all())


@torch.no_grad()
def test_the_branch_changes_the_colour_alone(generator: Generator, branch: LocalBranch) -> None:
    ws, labels, image, (cam2world, intrinsics) = setting(generator)
    scene = TriplaneScene(generator)
    reference = branch.reference(scene, image, ws, labels[:1])
    query = branch.query(scene, reference, labels[1:])
    plain = generator.synthesis(ws, cam2world[1:], intrinsics[1:])
    torch.testing.assert_close(query.view.depth, plain.depth, atol=1e-4, rtol=0)
    assert not torch.allclose(query.thumb, plain.image_raw, atol=1e-2)
    for parameter in branch.local.local_feat_to_tex_modulations_linear.parameters():
        parameter.zero_()
    query = branch.query(scene, reference, labels[1:])
    torch.testing.assert_close(query.image, plain.image, atol=1e-3, rtol=0)


def test_gradients_reach_the_branch_through_the_picture(generator: Generator, branch: LocalBranch) -> None:
    ws, labels, image, _ = setting(generator)
    scene = TriplaneScene(generator)
    reference = branch.reference(scene, image, ws, labels[:1])
    edited = branch.edited(scene, reference, ws + 0.1)
    reaches(branch, branch.query(scene, edited, labels[1:]).image)


def test_the_branch_learns_the_residual_of_a_picture(generator: Generator, branch: LocalBranch) -> None:
    """A few steps on one picture bring the rendering nearer to it than the code alone."""
    ws, labels, image, _ = setting(generator)
    scene = TriplaneScene(generator, generator.sampling(8, 0), resolution=8)
    target = F.avg_pool2d(image, 2)
    before = float((scene.view(ws, labels[:1]).thumb - target).square().mean())
    optimiser = torch.optim.Adam(branch.parameters(), 1e-2)
    for _ in range(20):
        reference = branch.reference(scene, image, ws, labels[:1])
        loss = (branch.query(scene, reference, labels[:1]).thumb - target).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < before / 2
