"""E3DGE as a method: what its local branch looks at is carried, rendered and edited."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from inverters.base import Inversion, InversionProblem
from inverters.encoders.e3dge_branch import BranchConfig
from inverters.encoders.e3dge_local import LocalConfig
from inverters.encoders.e3dge_scene import TriplaneScene
from inverters.encoders.e3dge_triplane import E3DGETriplane, E3DGETriplaneConfig, Painter
from inverters.encoders.e4e_mask import E4eMaskConfig
from inverters.encoders.encoder_file import EncoderCard, load_encoder, save_encoder
from inverters.encoders.irse import IrseConfig
from inverters.encoders.official import load_official
from inverters.encoders.psp import PspConfig
from inverters.errors import CheckpointError, FingerprintError, InverterError
from inverters.fields.synthesis import InversionRenderer
from inverters.generators.eg3d import Generator
from inverters.memory import reduced_memory
from inverters.methods.encoders import PRESETS
from inverters.rendering.cameras import to_label
from inverters.rendering.fused import render_rays
from inverters.rendering.rays import make_rays, pixel_centres
from pipeline.stages.invert import from_arrays, to_arrays
from tests.inverters.encoders.e3dge_tiny import HOURGLASS
from tests.inverters.tiny import invert, own_clip, tiny_generator

Scene = tuple[Generator, InversionProblem, Path]
ROWS = np.arange(3)


def local(modulated: int = 4) -> BranchConfig:
    return BranchConfig(32, LocalConfig(HOURGLASS, 2, modulated), (4, 5, 6, 7))


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """A tiny generator, a clip of it behind a square, and a network for it with random weights."""
    generator, path = tiny_generator(), tmp_path_factory.mktemp("network") / "e3dge.safetensors"
    problem = replace(own_clip(generator, 3, occluder=True), occluder_masks=None)
    codes = E4eMaskConfig(32, (8, 8, 8), 8, 4, 4, generator.num_ws, generator.config.w_dim)
    torch.manual_seed(1)
    config = E3DGETriplaneConfig(codes, local(), thumb=8)
    save_encoder(path, E3DGETriplane(config), EncoderCard("e3dge", config, generator.card.name, "tiny"))
    return generator, problem, path


def found(scene: Scene, **changes: object) -> Inversion:
    generator, problem, path = scene
    settings = replace(PRESETS["draft"], file=str(path), **changes)  # type: ignore[arg-type]
    return invert("e3dge", generator, problem, settings)


def rendered(scene: Scene, inversion: Inversion, rows: Sequence[int] = ROWS, **options: object) -> Tensor:
    generator, problem, _ = scene
    cameras = options.pop("cameras", (problem.cam2world[rows], problem.intrinsics[rows]))
    renderer = InversionRenderer(generator, inversion)
    return renderer.render(np.asarray(rows), *cameras, **options).image  # type: ignore[misc,arg-type]


def alone(inversion: Inversion) -> Inversion:
    return replace(inversion, latent={}, refiner={})


def test_rays_are_painted_as_the_official_branch_paints_views(scene: Scene) -> None:
    """With all samples modulated, the same colours as `LocalBranch.query`, from another camera too."""
    generator, problem, path = scene
    network = load_encoder(path).network
    assert isinstance(network, E3DGETriplane)
    labels = to_label(problem.cam2world, problem.intrinsics)
    picture = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    ws = generator.backbone.mapping.w_avg.expand(1, generator.num_ws, -1)
    sampling = generator.sampling(24, 24)
    official = TriplaneScene(generator, sampling, resolution=16)
    uv = pixel_centres((16, 16))
    with torch.no_grad():
        planes = generator.planes(ws)
        painter = Painter(network.branch, generator, thumb=16, least=0.0)
        reference = network.branch.reference(official, picture, ws, labels[:1])
        source = painter.source(picture, labels[:1], planes)
        for k in (0, 2):
            query = network.branch.query(official, reference, labels[k : k + 1])
            rays = make_rays(problem.cam2world[k : k + 1], problem.intrinsics[k : k + 1], (16, 16))
            seen = render_rays(generator.field(planes), *rays, sampling, want_samples=True)
            maps = painter.view(source, planes, labels[k : k + 1])
            mine = painter.colours(maps, planes, seen, *rays, uv)
            torch.testing.assert_close(
                mine.mT.reshape(1, -1, 16, 16)[:, :3], query.thumb, atol=1e-3, rtol=1e-3
            )
            assert (query.thumb - query.view.thumb).abs().mean() > 0.01, "the branch does something"
            few = replace(painter, least=1 / 256).colours(maps, planes, seen, *rays, uv)
            assert (few - mine).abs().mean() < 0.1 * (mine - seen.features).abs().mean()


def test_a_clip_is_rendered_with_details(scene: Scene) -> None:
    inversion = found(scene)
    assert inversion.parts == ("codes", "local features") and "cover" in inversion.seen
    assert inversion.latent["source"].dtype == torch.uint8
    assert inversion.latent["source"].shape == (3, 3, 32, 32)
    assert all(v.dtype != torch.float32 for v in inversion.refiner.values()), "half precision"
    assert not torch.allclose(rendered(scene, inversion), rendered(scene, alone(inversion)), atol=1e-2)


def test_details_follow_an_edit_and_an_edit_of_nothing_is_none(scene: Scene) -> None:
    inversion = found(scene)
    plain = rendered(scene, inversion)
    assert torch.equal(rendered(scene, inversion, ws=inversion.ws.clone()), plain), "an edit of nothing"
    ws = inversion.ws.clone()
    ws[1] += 0.5
    one = rendered(scene, inversion, ws=ws)
    torch.testing.assert_close(one[[0, 2]], plain[[0, 2]], atol=1e-4, rtol=1e-4)
    assert not torch.allclose(one[1], plain[1], atol=1e-2)
    slight = inversion.ws + 1e-5
    assert (rendered(scene, inversion, ws=slight) - plain).abs().max() < 0.02, "no jump at the first step"


def test_rows_have_their_own_details_from_any_camera(scene: Scene) -> None:
    _, problem, _ = scene
    inversion = found(scene)
    turned = problem.cam2world[[2, 1, 0]], problem.intrinsics
    whole = rendered(scene, inversion, cameras=turned)
    assert not torch.allclose(whole, rendered(scene, alone(inversion), cameras=turned), atol=1e-2)
    for row in (2, 0):
        cameras = turned[0][row : row + 1], turned[1][row : row + 1]
        one = rendered(scene, inversion, [row], cameras=cameras)
        torch.testing.assert_close(one, whole[row : row + 1], atol=1e-4, rtol=1e-4)


def test_a_removal_shows_the_codes_alone(scene: Scene) -> None:
    """Details show all that the picture shows, also what covers the face."""
    inversion = found(scene)
    assert torch.equal(rendered(scene, inversion, remove_occluder=True), rendered(scene, alone(inversion)))


def test_what_is_stored_is_rendered_alike(scene: Scene) -> None:
    """An inversion has all that its renders need: the encoder's file may be gone."""
    inversion = found(scene)
    again = from_arrays(*to_arrays(inversion))
    assert again.parts == inversion.parts
    torch.testing.assert_close(rendered(scene, again), rendered(scene, inversion), atol=1e-5, rtol=1e-5)
    with reduced_memory(2):
        parts = found(scene)
    assert torch.equal(parts.latent["source"], inversion.latent["source"])


def test_methods_begin_at_the_codes_alone(scene: Scene) -> None:
    generator, problem, _ = scene
    with pytest.raises(InverterError, match=r"cannot go on with its local features"):
        invert("w+", generator, problem, start=found(scene), steps=2)
    codes = found(scene, refined=False)
    assert codes.parts == ("codes",) and not codes.refiner
    assert torch.equal(codes.ws, found(scene).ws)
    invert("w+", generator, problem, start=codes, steps=2)


def test_other_generators_are_refused(scene: Scene) -> None:
    _, problem, path = scene
    other = tiny_generator()
    other.card = replace(other.card, name="other", fingerprint="f" * 64)
    with pytest.raises(FingerprintError, match="but the generator in use is 'other'"):
        invert("e3dge", other, problem, replace(PRESETS["draft"], file=str(path)))
    wide = E3DGETriplaneConfig(load_encoder(path).card.config.codes, local(modulated=5))
    with pytest.raises(FingerprintError, match="E3DGE and generator do not fit"):
        wide.check(other.config)


def test_a_file_in_the_release_s_layout(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The release's container of its networks, with pSp as E0, for this generator; StyleSDF's is refused."""
    generator, _, _ = scene
    backbone = IrseConfig(widths=(8, 8, 8, 8), units=(1, 1, 1, 1))
    codes = PspConfig(32, generator.num_ws, generator.config.w_dim, backbone=backbone)
    whole = E3DGETriplaneConfig(codes, local(), thumb=8)
    monkeypatch.setattr("inverters.encoders.e3dge_files.triplane_config", lambda *_: whole)
    torch.manual_seed(2)
    network = E3DGETriplane(whole).eval()
    branch = network.branch
    table = {
        "iter": 1,
        "encoder": network.encoder.state_dict(),
        "netLocal": branch.local.state_dict(),
        "grid_align": branch.align.state_dict(),
        "Fuse_sft_block": branch.fuse.state_dict(),
    }
    torch.save(table, tmp_path / "mine.pt")
    loaded = load_official("e3dge", tmp_path / "mine.pt", generator)
    assert torch.equal(loaded.network.latent_avg[0], generator.backbone.mapping.w_avg)
    for name, value in branch.state_dict().items():
        assert torch.equal(loaded.network.branch.state_dict()[name], value), name
    table["encoder"] = {"styles_pigan.0.linear.bias": torch.zeros(3)}
    torch.save(table, tmp_path / "sdf.pt")
    with pytest.raises(CheckpointError, match="is E3DGE for StyleSDF"):
        load_official("e3dge", tmp_path / "sdf.pt", generator)
