"""The edit stage: which variants there are, where the cameras go, and inversions that survive the cache."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inverters.base import Inversion
from inverters.editing.directions import Direction
from inverters.fields.synthesis import InversionRenderer
from inverters.fitting.code_settings import in_space
from inverters.rendering.cameras import look_at
from pipeline.report.json_values import plain
from pipeline.request.edits import Edit, View
from pipeline.request.settings import EditSettings
from pipeline.stages import edit as stage
from pipeline.stages.edit import Variant, render_variant, turn_cameras, variants, view_angles
from pipeline.stages.invert import store, stored_inversion
from pipeline.stages.pixels import to_bytes
from storage import StageCache
from tests.inverters.tiny import invert, own_clip, tiny, tiny_generator

PIVOT = np.array([0.0, 0.0, 0.2])
SMILE = (Edit("smile", 1.0),)
small = st.floats(-0.5, 0.5)


def test_what_is_rendered_for_each_request() -> None:
    assert variants(EditSettings()) == {"edited": Variant()}
    assert variants(EditSettings(SMILE)) == {"edited": Variant(SMILE)}
    assert variants(EditSettings(remove_occluder=True)) == {"edited": Variant(), "removal": Variant((), True)}
    view = View(yaw=0.3)
    assert variants(EditSettings(SMILE, True, view)) == {
        "edited": Variant(SMILE),
        "removal": Variant((), True),
        "removal_edited": Variant(SMILE, True),
        "view": Variant(SMILE, True, view),
    }


def seen_from(pose: np.ndarray) -> tuple[float, float, float]:
    """Yaw, pitch and distance of a camera [4,4] about the pivot."""
    x, y, z = pose[:3, 3].astype(np.float64) - PIVOT
    distance = math.sqrt(x * x + y * y + z * z)
    return math.atan2(x, z), math.asin(y / distance), distance


@settings(max_examples=40)
@given(small, small, small, small)
def test_a_turned_camera_goes_round_the_face(
    yaw: float, pitch: float, more_yaw: float, more_pitch: float
) -> None:
    start = look_at(torch.tensor([yaw]), torch.tensor([pitch])).numpy()
    turned = turn_cameras(start, np.array([more_yaw]), np.array([more_pitch]), PIVOT)[0]
    before, after = seen_from(start[0]), seen_from(turned)
    assert after == pytest.approx((before[0] + more_yaw, before[1] + more_pitch, before[2]), abs=1e-4)
    np.testing.assert_allclose(turned[:3, :3] @ turned[:3, :3].T, np.eye(3), atol=1e-5)
    back = (PIVOT - turned[:3, 3]) / after[2]
    np.testing.assert_allclose(turned[:3, 2], back, atol=1e-4)  # still looks at the pivot
    assert abs(turned[1, 0]) < 1e-4 and turned[1, 1] < 0  # and stands upright


def test_a_view_of_nothing_changes_nothing_and_an_orbit_closes() -> None:
    start = look_at(torch.tensor([0.2]), torch.tensor([-0.1])).numpy()
    np.testing.assert_allclose(turn_cameras(start, np.zeros(1), np.zeros(1), PIVOT), start, atol=1e-6)
    yaw, pitch = view_angles(View(orbit=True), 40)
    assert yaw[0] == pitch[0] == 0 and yaw.max() == pytest.approx(stage.ORBIT_YAW, abs=0.01)
    assert abs(yaw[-1] - yaw[0]) < 0.1 and np.abs(np.diff(yaw)).max() < 0.1
    assert view_angles(View(0.3, -0.1), 2)[0].tolist() == [0.3, 0.3]


def test_every_row_is_rendered_once_with_its_own_code_and_camera() -> None:
    seen: list[tuple[list[int], dict[str, Any]]] = []

    class Renderer:
        def render(self, rows: Any, cam2world: Any, intrinsics: Any, ws: Any, remove_occluder: bool) -> Any:
            seen.append((list(rows), {"remove": remove_occluder}))
            level = (ws[:, 0, 0] + cam2world[:, 0, 3]).reshape(-1, 1, 1, 1)
            return SimpleNamespace(image=level.expand(-1, 3, 4, 4))

    count = 2 * stage.BATCH + 1
    ws = torch.linspace(-1, 1, count).reshape(-1, 1, 1).expand(-1, 2, 3).clone()
    poses = torch.eye(4).repeat(count, 1, 1)
    inversion = Inversion("w+", "draft", "f", np.arange(count), ws)
    problem: Any = SimpleNamespace(frames=np.arange(count), cam2world=poses, intrinsics=poses[:, :3, :3])
    generator = SimpleNamespace()
    directions = {"smile": Direction(torch.ones(3), "", "")}
    done: list[int] = []
    times = np.arange(count) / 10
    early = Variant((Edit("smile", 0.5, None, 0.45),), True)

    def rendered(plain: np.ndarray | None) -> np.ndarray:
        parts = render_variant(
            generator,
            Renderer(),
            inversion,
            problem,
            early,
            times,
            directions,
            0.0,
            plain,
            lambda n, total: done.append(n),
        )
        return np.concatenate(list(parts))

    images = rendered(None)
    assert [row for rows, _ in seen for row in rows] == list(range(count)) and seen[0][1] == {"remove": True}
    assert done[-1] == count
    strength = np.where(times <= 0.45, 0.5, 0.0)
    wanted = np.clip(np.linspace(-1, 1, count) + strength, -1, 1)
    np.testing.assert_allclose(images[:, 0, 0, 0], np.rint((wanted + 1) * 127.5), atol=1)

    seen.clear()
    plain = np.full_like(images, 7)
    shared = rendered(plain)
    assert [row for rows, _ in seen for row in rows] == list(range(2 * stage.BATCH))  # those with an edit
    assert np.array_equal(shared[: 2 * stage.BATCH], images[: 2 * stage.BATCH])
    assert (shared[2 * stage.BATCH :] == 7).all() and done[-1] == count


def test_bytes_cover_the_whole_range() -> None:
    levels = to_bytes(torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0]).reshape(5, 1, 1, 1).expand(-1, 3, 1, 1))
    assert levels[:, 0, 0, 0].tolist() == [0, 0, 128, 255, 255] and levels.dtype == np.uint8


def test_an_inversion_survives_the_cache(tmp_path: Path) -> None:
    before = Inversion(
        method="in-n-out",
        preset="draft",
        fingerprint="abc",
        frames=np.array([0, 2, 5]),
        ws=torch.randn(3, 4, 5),
        latent={"z": torch.randn(3, 4, 6), "features": torch.randn(3, 2, 8, 8)},
        ood={
            "planes": torch.randn(1, 3, 2, 4, 4),
            "decoder.0.weight": torch.randn(2, 2),
            "scale": torch.tensor(2.0),
        },
        generator={"superresolution.block0.conv0.weight": torch.randn(2, 3).half()},
        history={"total": [1.0, float("nan"), 0.25]},
        info={"perceptual_loss": "none", "render": {"coarse": None, "fine": 3}, "x": np.float32(0.5)},
    )
    cache = StageCache(tmp_path)
    with cache.begin("invert-1") as writer:
        store(writer, before)
        after = stored_inversion(writer.publish())
    assert (after.method, after.preset, after.fingerprint) == ("in-n-out", "draft", "abc")
    assert after.frames.tolist() == [0, 2, 5] and torch.equal(after.ws, before.ws)
    for group in ("latent", "ood", "generator"):
        found, given_ = getattr(after, group), getattr(before, group)
        assert set(found) == set(given_)
        for name, tensor in given_.items():
            assert torch.equal(found[name], tensor) and found[name].dtype == tensor.dtype
    assert after.history["total"][::2] == [1.0, 0.25] and math.isnan(after.history["total"][1])
    assert after.info == {"perceptual_loss": "none", "render": {"coarse": None, "fine": 3}, "x": 0.5}


def test_a_tuned_generator_renders_every_variant_and_stays_with_its_inversion(tmp_path: Path) -> None:
    generator = tiny_generator()
    directions = {"smile": Direction(torch.full((16,), 0.5), "", "")}
    problem = own_clip(generator, 2)
    before = invert("pti", generator, problem, steps=9)
    cache = StageCache(tmp_path)
    with cache.begin("invert-1") as writer:
        store(writer, before)
        after = stored_inversion(writer.publish())
    untuned = replace(after, generator={})

    def rendered(inversion: Inversion, variant: Variant) -> np.ndarray:
        renderer = InversionRenderer(generator, inversion)
        times = np.zeros(2)
        how = (generator, renderer, inversion, problem, variant, times, directions, 0.0)
        return np.concatenate([*render_variant(*how)])

    for variant in (Variant(), Variant(SMILE), Variant((), True), Variant(SMILE, True, View(yaw=0.3))):
        found = rendered(after, variant)
        assert np.array_equal(found, rendered(before, variant))
        assert not np.array_equal(found, rendered(untuned, variant))
    assert np.array_equal(rendered(after, Variant((), True)), rendered(after, Variant()))
    fresh = tiny_generator().state_dict()
    assert all(torch.equal(tensor, fresh[name]) for name, tensor in generator.state_dict().items())


def test_plain_values_are_json() -> None:
    found = plain(
        {"a": (1, np.int64(2), float("inf")), 3: np.arange(2), "p": Path("x"), "b": True, "n": None}
    )
    assert found == {"a": [1, 2, None], "3": [0, 1], "p": "x", "b": True, "n": None}


def test_an_edit_of_codes_of_z_is_rendered_from_z() -> None:
    generator = tiny_generator(parameters=("smile",))
    problem = own_clip(generator, 2)
    settings = tiny("w+")
    settings = replace(settings, codes=in_space(settings.codes, "f/z+"))
    found = invert("w+", generator, problem, settings, steps=3)
    directions = {"smile": Direction(torch.zeros(16), "", "", coordinate=0)}

    def rendered(variant: Variant, inversion: Inversion) -> np.ndarray:
        renderer = InversionRenderer(generator, inversion)
        how = (generator, renderer, inversion, problem, variant, np.zeros(2), directions, 0.0)
        return np.concatenate([*render_variant(*how)])

    assert not np.array_equal(rendered(Variant(SMILE), found), rendered(Variant(), found))
    without = replace(found, latent={"features": found.latent["features"]})
    assert not np.array_equal(rendered(Variant(SMILE), without), rendered(Variant(SMILE), found))
