"""GOAE as a method: refined features are carried, rendered from all sides, and edited by equation 9."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from inverters.base import Inversion, InversionProblem
from inverters.encoders import official
from inverters.encoders.e4e_mask import E4eMaskConfig
from inverters.encoders.encoder_file import EncoderCard, load_encoder, save_encoder
from inverters.encoders.goae import Cameras, Goae, GoaeInversion
from inverters.encoders.goae_afa import AfaConfig
from inverters.encoders.goae_encoder import GoaeEncoderConfig
from inverters.encoders.goae_mix import Form
from inverters.encoders.goae_network import GoaeConfig, GoaeNetwork, load_goae
from inverters.encoders.irse import IrseConfig
from inverters.encoders.swin import SwinConfig
from inverters.errors import CheckpointError, FingerprintError, InverterError
from inverters.fields.synthesis import InversionRenderer
from inverters.generators.eg3d import Generator
from inverters.memory import reduced_memory
from inverters.methods.encoders import PRESETS, check_card, encoder_for
from inverters.rendering.cameras import look_at
from pipeline.stages.invert import from_arrays, to_arrays
from tests.inverters.tiny import invert, own_clip, tiny_generator

Scene = tuple[Generator, InversionProblem, dict[Form, Path]]
ROWS = np.arange(3)
FORMS: tuple[Form, ...] = ("released", "paper")
BODY = IrseConfig(widths=(8, 8), units=(1, 1))


def config_for(generator: Generator, form: Form = "released") -> GoaeConfig:
    """Small sizes, with our own first stage, and each choice in this form."""
    config = generator.config
    codes = E4eMaskConfig(32, (8, 8, 8), 8, 4, 4, config.num_ws, config.w_dim)
    return GoaeConfig(codes, AfaConfig.sized_for(config, 8, body=BODY, heads=2), form, form, form)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """A tiny generator with planes of 32, a clip of it behind a square, and random networks for it."""
    generator, folder = tiny_generator(plane_resolution=32), tmp_path_factory.mktemp("networks")
    problem = replace(own_clip(generator, 3, occluder=True), occluder_masks=None)
    paths: dict[Form, Path] = {}
    for form in FORMS:
        torch.manual_seed(1)
        config = config_for(generator, form)
        paths[form] = folder / f"{form}.safetensors"
        card = EncoderCard("goae", config, generator.card.name, "tiny")
        save_encoder(paths[form], GoaeNetwork(config), card)
    return generator, problem, paths


def found(scene: Scene, form: Form = "released", **changes: object) -> Inversion:
    generator, problem, paths = scene
    settings = replace(PRESETS["draft"], file=str(paths[form]), **changes)  # type: ignore[arg-type]
    return invert("goae", generator, problem, settings)


def rendered(scene: Scene, inversion: Inversion, rows: Sequence[int] = ROWS, **options: object) -> Tensor:
    generator, problem, _ = scene
    cameras = {"cam2world": problem.cam2world[rows], "intrinsics": problem.intrinsics[rows]}
    renderer = InversionRenderer(generator, inversion)
    return renderer.render(np.asarray(rows), **(cameras | options)).image  # type: ignore[arg-type]


@torch.no_grad()
def whole(scene: Scene, form: Form, ws: Tensor) -> tuple[Goae, GoaeInversion, Cameras]:
    """The networks themselves on the clip, from these codes."""
    generator, problem, paths = scene
    network = load_encoder(paths[form]).network
    assert isinstance(network, GoaeNetwork)
    goae = network.with_generator(generator, generator.sampling(24, 24))
    goae.settings = replace(goae.settings, resolution=16)
    pictures = torch.from_numpy(np.asarray(problem.crops[ROWS])).permute(0, 3, 1, 2).float() / 127.5 - 1
    cameras = Cameras(problem.cam2world, problem.intrinsics)
    return goae, goae.invert(pictures, cameras, ws), cameras


@torch.no_grad()
def picture(scene: Scene, ws: Tensor, planes: Tensor, cameras: Cameras) -> Tensor:
    generator = scene[0]
    pose, sampling = (cameras.cam2world, cameras.intrinsics), generator.sampling(24, 24)
    return generator.synthesis(ws, *pose, sampling=sampling, planes=planes).image.clamp(-1, 1)


def assert_shows(scene: Scene, shown: Tensor, wanted: Tensor, other: Tensor) -> None:
    """`shown` is `wanted` up to half precision, and far from `other`."""
    close, far = ((shown - image).abs().mean() for image in (wanted, other))
    assert far > 1e-3 and close < 0.02 * far, (close, far)


@pytest.mark.parametrize("form", FORMS)
def test_a_clip_is_rendered_with_refined_features(form: Form, scene: Scene) -> None:
    """Its own views show F*, other views the mix with w+: both as the networks themselves do."""
    generator = scene[0]
    inversion = found(scene, form)
    offsets = inversion.latent["aligned"]
    assert offsets.dtype == torch.float16 and offsets.shape == (3, generator.config.channels(8), 8, 8)
    assert inversion.parts == ("codes", "refined features")
    assert set(inversion.seen) == {"cover", "cam2world", "intrinsics"}
    _, wanted, cameras = whole(scene, form, inversion.ws)
    planes, ws = wanted.planes, inversion.ws
    own = picture(scene, ws, planes.refined, cameras)
    assert_shows(scene, rendered(scene, inversion), own, picture(scene, ws, planes.base, cameras))
    side = Cameras(look_at(torch.full((3,), 0.4), torch.zeros(3)), cameras.intrinsics)
    shown = rendered(scene, inversion, cam2world=side.cam2world)
    mixed, unmixed = (picture(scene, ws, of, side) for of in (planes.mixed, planes.refined))
    assert_shows(scene, shown, mixed, unmixed)


@pytest.mark.parametrize("form", FORMS)
def test_features_follow_an_edit(form: Form, scene: Scene) -> None:
    """Equation 9, as the networks themselves edit: F* at the input view, the mix from the side."""
    inversion = found(scene, form)
    ws = inversion.ws + 0.5
    goae, began, cameras = whole(scene, form, inversion.ws)
    with torch.no_grad():
        edited = goae.edit(began, ws, cameras)
    own = picture(scene, ws, edited.refined, cameras)
    assert_shows(scene, rendered(scene, inversion, ws=ws), own, rendered(scene, inversion))
    side = Cameras(look_at(torch.full((3,), -0.4), torch.zeros(3)), cameras.intrinsics)
    wanted = picture(scene, ws, edited.mixed, side)
    shown = rendered(scene, inversion, ws=ws, cam2world=side.cam2world)
    assert_shows(scene, shown, wanted, rendered(scene, inversion, cam2world=side.cam2world))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("yaw", [None, 0.3])
def test_an_edit_of_nothing_is_the_reconstruction(yaw: float | None, form: Form, scene: Scene) -> None:
    inversion = found(scene, form)
    view = {} if yaw is None else {"cam2world": look_at(torch.full((3,), yaw), torch.zeros(3))}
    plain = rendered(scene, inversion, **view)
    assert torch.equal(rendered(scene, inversion, ws=inversion.ws.clone(), **view), plain)


def test_rows_have_their_own_features(scene: Scene) -> None:
    inversion = found(scene)
    for row in (2, 0):
        one = rendered(scene, inversion, [row])
        torch.testing.assert_close(one, rendered(scene, inversion)[row : row + 1], atol=1e-4, rtol=1e-4)


def test_own_views_and_others_go_together(scene: Scene) -> None:
    """Which planes a row shows does not depend on the other rows."""
    inversion, cameras = found(scene), scene[1].cam2world.clone()
    cameras[1] = look_at(0.4, 0.0)[0]
    shown = rendered(scene, inversion, cam2world=cameras)
    torch.testing.assert_close(shown[::2], rendered(scene, inversion)[::2], atol=1e-4, rtol=1e-4)
    alone = rendered(scene, inversion, [1], cam2world=cameras[1:2])
    torch.testing.assert_close(shown[1:2], alone, atol=1e-4, rtol=1e-4)


def test_a_removal_shows_the_codes_alone(scene: Scene) -> None:
    """Refined features show all that the picture shows, also what covers the face."""
    inversion = found(scene)
    codes = replace(inversion, latent={})
    assert torch.equal(rendered(scene, inversion, remove_occluder=True), rendered(scene, codes))
    assert not torch.equal(rendered(scene, inversion), rendered(scene, codes))


def test_what_is_stored_is_rendered_alike(scene: Scene) -> None:
    """An inversion has all that its renders need: the encoder's file may be gone."""
    inversion = found(scene)
    again = from_arrays(*to_arrays(inversion))
    assert again.parts == inversion.parts and not again.refiner
    torch.testing.assert_close(rendered(scene, again), rendered(scene, inversion), atol=1e-5, rtol=1e-5)


def test_memory_changes_nothing_but_rounding(scene: Scene) -> None:
    whole_clip = found(scene).latent["aligned"].float()
    with reduced_memory(2):
        parts = found(scene).latent["aligned"].float()
    torch.testing.assert_close(parts, whole_clip, atol=2e-3, rtol=2e-3)


def test_methods_begin_at_the_codes_alone(scene: Scene) -> None:
    generator, problem, _ = scene
    with pytest.raises(InverterError, match=r"cannot go on with its refined features"):
        invert("w+", generator, problem, start=found(scene), steps=2)
    codes = found(scene, refined=False)
    assert codes.parts == ("codes",) and set(codes.seen) == {"cover"}
    assert torch.equal(codes.ws, found(scene).ws)
    invert("w+", generator, problem, start=codes, steps=2)


def test_features_that_are_no_numbers_are_refused(scene: Scene, tmp_path: Path) -> None:
    generator, problem, paths = scene
    network = load_encoder(paths["released"]).network
    assert isinstance(network, GoaeNetwork)
    network.afa.cross_att_beta.linear2.bias.fill_(6e4)
    network.afa.cross_att_gamma.linear2.bias.fill_(6e4)
    path, card = tmp_path / "far.safetensors", EncoderCard("goae", network.config, "tiny", "tiny")
    save_encoder(path, network, card)
    with pytest.raises(InverterError, match="not finite numbers at half precision"):
        invert("goae", generator, problem, replace(PRESETS["draft"], file=str(path)))


def test_another_generator_is_refused(scene: Scene) -> None:
    _, problem, paths = scene
    other = tiny_generator(plane_resolution=32)
    other.card = replace(other.card, name="other", fingerprint="f" * 64)
    with pytest.raises(FingerprintError, match="but the generator in use is 'other'"):
        invert("goae", other, problem, replace(PRESETS["draft"], file=str(paths["released"])))


# The official files: one for each stage


@pytest.fixture
def pair(scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Both files of small networks in the layout of the official ones; the path of the first."""
    swin = SwinConfig(64, 4, 8, (2, 1, 1, 1), (1, 2, 2, 4), 4, (0, 0, 0, 0))
    config = GoaeConfig(GoaeEncoderConfig.sized_for(scene[0].config, swin=swin), config_for(scene[0]).afa)
    torch.manual_seed(2)
    network = GoaeNetwork(config)
    torch.save(network.encoder.state_dict(), tmp_path / "encoder_FFHQ.pt")
    torch.save(network.afa.state_dict(), tmp_path / "afa_FFHQ.pt")
    monkeypatch.setattr(official, "load_goae", partial(load_goae, config=config))
    return tmp_path / "encoder_FFHQ.pt"


def test_both_official_files_are_read(scene: Scene, pair: Path) -> None:
    generator, problem, _ = scene
    network = encoder_for("goae", str(pair), generator).network
    assert isinstance(network, GoaeNetwork)
    saved = torch.load(pair.with_name("afa_FFHQ.pt"), weights_only=True)
    assert all(torch.equal(value, saved[name]) for name, value in network.afa.state_dict().items())
    inversion = invert("goae", generator, problem, replace(PRESETS["paper"], file=str(pair)))
    assert inversion.parts == ("codes", "refined features") and "cover" not in inversion.seen
    assert torch.isfinite(rendered(scene, inversion)).all()


def test_files_that_do_not_belong_together(scene: Scene, pair: Path) -> None:
    generator, other = scene[0], pair.with_name("afa_FFHQ.pt")
    saved = torch.load(other, weights_only=True)
    torch.save({k: v for k, v in saved.items() if k != "output_layer.0.weight"}, other)
    with pytest.raises(CheckpointError, match=r"afa_FFHQ.pt' does not fit .* 1 tensors missing"):
        encoder_for("goae", str(pair), generator)
    other.unlink()
    with pytest.raises(CheckpointError, match=r"there is no 'afa_FFHQ.pt' beside .*encoder_FFHQ.pt'"):
        check_card("goae", str(pair), generator)
    renamed = pair.rename(pair.with_name("goae.pt"))
    with pytest.raises(CheckpointError, match="--encoder names the first file"):
        check_card("goae", str(renamed), generator)


def test_features_of_another_size_are_refused(pair: Path) -> None:
    wide = tiny_generator(plane_resolution=32, channel_max=4)
    with pytest.raises(FingerprintError, match="refines 8 channels, the generator has 4"):
        encoder_for("goae", str(pair), wide)
