"""TriPlaneNet as a method: what its second branch looks at is carried, rendered and edited."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from inverters.base import Inversion, InversionProblem
from inverters.encoders.e4e_mask import E4eMaskConfig
from inverters.encoders.encoder_file import EncoderCard, load_encoder, save_encoder
from inverters.encoders.plane_offsets import PlaneOffsets
from inverters.encoders.triplanenet import OffsetConfig, TriPlaneNet, TriPlaneNetConfig, side_by_side
from inverters.errors import FingerprintError, InverterError
from inverters.fields.synthesis import InversionRenderer
from inverters.generators.eg3d import Generator
from inverters.memory import reduced_memory
from inverters.methods.encoders import PRESETS
from pipeline.stages.invert import from_arrays, to_arrays
from tests.inverters.tiny import invert, own_clip, tiny_generator

Scene = tuple[Generator, InversionProblem, dict[str, Path]]
ROWS = np.arange(3)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """A tiny generator, a clip of it behind a square, and networks for it with random weights."""
    generator, folder = tiny_generator(), tmp_path_factory.mktemp("networks")
    problem = replace(own_clip(generator, 3, occluder=True), occluder_masks=None)
    codes = E4eMaskConfig(32, (8, 8, 8), 8, 4, 4, generator.num_ws, generator.config.w_dim)
    paths = {}
    for release in ("v1", "v2"):
        torch.manual_seed(1)
        sizes = {"widths": (8, 8, 8, 8), "body": (8, 8, 8, 8), "units": (1, 1, 1, 1)}
        offsets = OffsetConfig(release, size=32, plane_resolution=16, plane_channels=12, **sizes)  # type: ignore[arg-type]
        config = TriPlaneNetConfig(codes, offsets)
        paths[release] = folder / f"{release}.safetensors"
        card = EncoderCard("triplanenet", config, generator.card.name, "tiny")
        save_encoder(paths[release], TriPlaneNet(config), card)
    return generator, problem, paths


def found(scene: Scene, release: str = "v1", **changes: object) -> Inversion:
    generator, problem, paths = scene
    settings = replace(PRESETS["draft"], file=str(paths[release]), **changes)  # type: ignore[arg-type]
    return invert("triplanenet", generator, problem, settings)


def rendered(scene: Scene, inversion: Inversion, rows: Sequence[int] = ROWS, **options: object) -> Tensor:
    generator, problem, _ = scene
    renderer = InversionRenderer(generator, inversion)
    cameras = problem.cam2world[rows], problem.intrinsics[rows]
    return renderer.render(np.asarray(rows), *cameras, **options).image  # type: ignore[arg-type]


@pytest.mark.parametrize("release", ["v1", "v2"])
def test_a_clip_is_rendered_with_offsets_of_its_planes(release: str, scene: Scene) -> None:
    """The picture is that of the network itself, up to bytes and half precision."""
    generator, problem, paths = scene
    inversion = found(scene, release, fuse=False)
    looks = inversion.latent["looks"]
    assert looks.dtype == torch.uint8 and looks.shape == (3, 2 if release == "v1" else 3, 3, 32, 32)
    assert inversion.parts == ("codes", "plane offsets") and inversion.seen["cover"].shape == (3, 16, 16)
    network = load_encoder(paths[release]).network
    assert isinstance(network, TriPlaneNet)
    pictures = torch.from_numpy(np.asarray(problem.crops[ROWS])).permute(0, 3, 1, 2).float() / 127.5 - 1
    sampling = generator.sampling(24, 24)
    with torch.no_grad():
        wanted = network(generator, pictures, problem.cam2world, problem.intrinsics, sampling=sampling)
        offset = network.triplanenet_encoder(side_by_side(looks.float() / 127.5 - 1), wanted.planes)
    torch.testing.assert_close(inversion.ws, wanted.codes, atol=1e-3, rtol=1e-3)
    mine = PlaneOffsets.of(inversion)
    assert mine is not None
    torch.testing.assert_close(mine.make(generator), offset, atol=1e-4, rtol=1e-3)
    image = rendered(scene, inversion)
    close, far = ((image - other).abs().mean() for other in (wanted.image, wanted.first))
    assert close < 0.2 * far, (close, far)


def test_offsets_stay_where_codes_are_edited(scene: Scene) -> None:
    generator, problem, _ = scene
    inversion = found(scene)
    plain = rendered(scene, inversion)
    assert torch.equal(rendered(scene, inversion, ws=inversion.ws.clone()), plain), "an edit of nothing"
    ws = inversion.ws + 0.5
    offsets = PlaneOffsets.of(inversion)
    assert offsets is not None
    with torch.no_grad():
        planes = generator.planes(ws) + offsets.make(generator)
        cameras = problem.cam2world, problem.intrinsics
        wanted = generator.synthesis(ws, *cameras, sampling=generator.sampling(24, 24), planes=planes).image
    torch.testing.assert_close(rendered(scene, inversion, ws=ws), wanted.clamp(-1, 1), atol=1e-4, rtol=1e-4)


def test_rows_have_their_own_offsets(scene: Scene) -> None:
    inversion = found(scene, "v2")
    for row in (2, 0):
        one = rendered(scene, inversion, [row])
        torch.testing.assert_close(one, rendered(scene, inversion)[row : row + 1], atol=1e-4, rtol=1e-4)


def test_a_removal_shows_the_codes_alone(scene: Scene) -> None:
    """Offsets show all that the picture shows, also what covers the face."""
    inversion = found(scene)
    codes = replace(inversion, latent={}, refiner={})
    assert torch.equal(rendered(scene, inversion, remove_occluder=True), rendered(scene, codes))
    assert not torch.equal(rendered(scene, inversion), rendered(scene, codes))


def test_what_is_stored_is_rendered_alike(scene: Scene) -> None:
    """An inversion has all that its renders need: the encoder's file may be gone."""
    inversion = found(scene, "v2")
    again = from_arrays(*to_arrays(inversion))
    assert again.parts == inversion.parts
    # The layout in memory may choose another kernel.
    torch.testing.assert_close(rendered(scene, again), rendered(scene, inversion), atol=1e-5, rtol=1e-5)


def test_a_refinement_looks_at_the_last_render(scene: Scene) -> None:
    none, once = (found(scene, passes=passes) for passes in (0, 1))
    assert torch.equal(none.ws, once.ws)
    renders, pictures = (torch.stack([i.latent["looks"][:, k] for i in (none, once)]) for k in (0, 1))
    assert torch.equal(*pictures) and not torch.equal(*renders)


def test_memory_changes_nothing_but_rounding(scene: Scene) -> None:
    whole = found(scene)
    with reduced_memory(2):
        parts = found(scene)
    assert (whole.latent["looks"].int() - parts.latent["looks"].int()).abs().max() <= 1


def test_methods_begin_at_the_codes_alone(scene: Scene) -> None:
    generator, problem, _ = scene
    with pytest.raises(InverterError, match=r"cannot go on with its plane offsets"):
        invert("w+", generator, problem, start=found(scene), steps=2)
    codes = found(scene, refined=False)
    assert codes.parts == ("codes",) and not codes.refiner
    assert torch.equal(codes.ws, found(scene).ws)
    invert("w+", generator, problem, start=codes, steps=2)


def test_another_generator_is_refused(scene: Scene) -> None:
    _, problem, paths = scene
    other = tiny_generator()
    other.card = replace(other.card, name="other", fingerprint="f" * 64)
    with pytest.raises(FingerprintError, match="but the generator in use is 'other'"):
        invert("triplanenet", other, problem, replace(PRESETS["draft"], file=str(paths["v1"])))
