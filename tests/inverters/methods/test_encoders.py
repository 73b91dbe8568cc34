"""Encoders as methods, and methods that begin at what an encoder sees."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from inverters.base import InversionProblem
from inverters.editing.directions import Direction
from inverters.editing.edit import edit_codes
from inverters.encoders.e4e_mask import E4eMaskConfig
from inverters.encoders.encoder_file import EncoderCard, load_encoder, save_encoder
from inverters.encoders.table import kind_of
from inverters.errors import CheckpointError, FingerprintError, InverterError
from inverters.fields.synthesis import InversionRenderer
from inverters.generators.eg3d import Generator
from inverters.generators.load import load_generator
from inverters.memory import reduced_memory
from inverters.methods.encoders import PRESETS, check_card, framed, unframed
from inverters.methods.table import BEGUN, ENCODERS, METHODS, encoder_file, find_method
from inverters.rendering.cameras import default_intrinsics
from tests.inverters.tiny import invert, own_clip, tiny, tiny_generator

Scene = tuple[Generator, InversionProblem, Path]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """A tiny generator, a clip of it behind a square, and an encoder for it with random weights."""
    generator = tiny_generator()
    problem = replace(own_clip(generator, 3, occluder=True), occluder_masks=None)
    config = E4eMaskConfig(32, (8, 8, 8), 8, 4, 4, generator.num_ws, generator.config.w_dim)
    torch.manual_seed(1)
    network = kind_of("e4e-mask").build(config)
    torch.nn.init.normal_(network.rows.weight, std=0.1)
    path = tmp_path_factory.mktemp("encoder") / "mine.safetensors"
    save_encoder(path, network, EncoderCard("e4e-mask", config, generator.card.name, "tiny"))
    return generator, problem, path


def seen(scene: Scene, preset: str = "draft", single: bool = False):
    generator, problem, path = scene
    return invert("e4e-mask", generator, problem, replace(PRESETS[preset], file=str(path), single=single))


def test_encoders_are_methods_without_steps() -> None:
    assert set(ENCODERS) <= set(METHODS)
    for name in ENCODERS:
        method = find_method(name)
        assert method.name == name and {method.steps(s, 40) for s in method.presets.values()} == {0}


def test_a_clip_is_told(scene: Scene) -> None:
    generator, problem, _ = scene
    found = seen(scene)
    assert found.ws.shape == (3, generator.num_ws, generator.config.w_dim)
    cover = found.seen["cover"]
    assert cover.shape == (3, 16, 16) and cover.min() >= 0 and cover.max() <= 1
    assert np.array_equal(found.frames, problem.frames) and found.parts == ("codes",)
    assert torch.equal(found.ws, seen(scene).ws)


def test_an_edit_of_nothing_is_the_reconstruction(scene: Scene) -> None:
    generator, problem, _ = scene
    found, rows = seen(scene), np.arange(3)
    renderer = InversionRenderer(generator, found)
    smile = Direction(torch.ones(generator.config.w_dim), "one", "by hand")
    nothing = SimpleNamespace(name="smile", strength=0.0, start=None, stop=None)
    ws = edit_codes(found.ws, torch.arange(3.0), [nothing], {"smile": smile})
    plain = renderer.render(rows, problem.cam2world, problem.intrinsics).image
    assert torch.equal(renderer.render(rows, problem.cam2world, problem.intrinsics, ws=ws).image, plain)


@pytest.mark.parametrize("name", [name for name in ENCODERS if encoder_file(name).is_file()])
def test_what_is_shipped_is_for_the_bundled_generator(name: str) -> None:
    card = load_generator("bundled").card
    encoder = load_encoder(encoder_file(name))
    assert encoder.card.fingerprint == card.fingerprint, (
        f"after a change of the generator: invid train-encoder {name} --start {encoder_file(name)} "
        f"--folder runs/new --minutes 20 --export {encoder_file(name)}"
    )
    assert encoder_file(name).stat().st_size < 12e6


def test_memory_changes_nothing(scene: Scene) -> None:
    whole = seen(scene, "paper")
    with reduced_memory(2):
        parts = seen(scene, "paper")
    torch.testing.assert_close(whole.ws, parts.ws, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(whole.seen["cover"], parts.seen["cover"], atol=1e-5, rtol=1e-5)


def test_masks_lie_where_the_pictures_show_them() -> None:
    lens = default_intrinsics(2)
    lens[:, 0, 0] *= 0.8
    lens[:, 1, 1] *= 0.8
    cover = torch.zeros(2, 1, 64, 64)
    cover[:, :, 24:40, 28:44] = 1
    back = unframed(framed(cover, lens), lens)
    assert ((back > 0.5) != (cover > 0.5)).float().mean() < 0.02
    same = torch.rand(2, 3, 8, 8)
    assert framed(same, default_intrinsics(2)) is same


@pytest.mark.parametrize("method", BEGUN)
def test_methods_begin_there(method: str, scene: Scene) -> None:
    generator, problem, _ = scene
    start = seen(scene, single=method == "w")
    still = tiny(method)
    rates = {"coordinate_rate": 0.0, "frame_rate": 0.0, "rate": 0.0}
    still = replace(still, codes=replace(still.codes, **rates))
    if method == "pose-opt":
        still = replace(still, tuning=replace(still.tuning, rate_w=0.0))
    found = invert(method, generator, problem, still, start=start, steps=4)
    assert found.info["steps"]["codes"] > 0
    torch.testing.assert_close(found.ws, start.ws, atol=1e-4, rtol=0)


def test_what_is_not_the_face_moves_no_code(scene: Scene) -> None:
    """Pixels that the mask covers wholly, and two about them, do not count in the fit of codes."""
    generator, problem, _ = scene
    start = seen(scene)
    size = problem.crops.shape[1]  # type: ignore[attr-defined]
    cover = torch.zeros(3, size, size)
    cover[:, size // 2 + 2 :] = 1
    start = replace(start, seen={"cover": cover})
    other = np.array(problem.crops)
    other[:, size // 2 :] = 7
    settings = replace(tiny("in-n-out"), codes=replace(tiny("in-n-out").codes, robust=None))
    found = [
        invert("in-n-out", generator, replace(problem, crops=crops), settings, start=start, steps=6)
        for crops in (problem.crops, other)
    ]
    torch.testing.assert_close(found[0].ws, found[1].ws, atol=1e-5, rtol=1e-5)


def test_the_mask_is_the_prior_of_the_blend(scene: Scene) -> None:
    from inverters.fitting.joint import JointFit
    from inverters.fitting.targets import Targets

    generator, problem, _ = scene
    targets = Targets(problem, 16, torch.device("cpu"))
    ws, settings = seen(scene).ws, tiny("in-n-out").joint
    cover = torch.zeros(3, 16, 16)
    cover[:, 4:8, 4:8] = 1
    fit = JointFit(generator, targets, ws, settings, 1, 0, cover=cover)
    price = fit._price(torch.arange(3))
    assert price[:, 4:8, 4:8].max() == pytest.approx(-settings.cover_gain) and settings.cover_gain > 0
    assert price[:, 9:].min() >= settings.residual_prior[1] * 0.49


def test_what_does_not_fit_is_refused(scene: Scene, tmp_path: Path) -> None:
    generator, problem, path = scene
    other = tiny_generator()
    other.card = replace(other.card, name="other", fingerprint="f" * 64)
    options = replace(PRESETS["draft"], file=str(path))
    with pytest.raises(FingerprintError, match=r"was trained for .* but the generator in use is 'other'"):
        invert("e4e-mask", other, problem, options)
    with pytest.raises(FingerprintError):
        check_card("e4e-mask", str(path), other)
    with pytest.raises(CheckpointError, match="is an encoder e4e-mask; expected psp"):
        invert("psp", generator, problem, options)
    with pytest.raises(CheckpointError, match="there is no encoder at"):
        invert("psp", generator, problem, replace(options, file=str(tmp_path / "none.safetensors")))
    with pytest.raises(CheckpointError, match=r"no encoder goae-w. is shipped"):
        check_card("goae-w+", "", generator)
    torch.save({"state_dict": {"encoder.x": torch.zeros(1)}}, tmp_path / "official.pt")
    with pytest.raises(CheckpointError, match="networks for 0 rows"):
        invert("psp", generator, problem, replace(options, file=str(tmp_path / "official.pt")))
    with pytest.raises(CheckpointError, match="there are no official files of e4e-mask"):
        invert("e4e-mask", generator, problem, replace(options, file=str(tmp_path / "official.pt")))
    with pytest.raises(InverterError, match="cannot begin from another inversion"):
        invert("e4e-mask", generator, problem, options, start=seen(scene))
