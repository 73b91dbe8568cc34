"""Edits behind what covers the face: told where most of one is hidden, and not where it is seen."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from inverters.base import Inversion, InversionProblem
from inverters.editing.directions import own_directions
from inverters.fields.ood import OODInit, initial_field
from inverters.fields.synthesis import InversionRenderer
from inverters.generators.load import load_generator
from inverters.rendering.cameras import default_intrinsics, look_at
from pipeline.request.edits import Edit
from pipeline.stages.edit import Variant, codes_of
from pipeline.stages.hidden import MOST_ROWS, hidden_share, rows_to_look_at


def made_field(generator: Any, below: float | None) -> dict[str, torch.Tensor]:
    """A second field that fills all of the world under the height `below`; None for nothing at all."""
    config = generator.config
    rng = torch.Generator().manual_seed(0)
    field = initial_field(OODInit(resolution=64), config.plane_channels, config.feature_channels, 2, rng)
    for name in field:
        field[name] = torch.zeros_like(field[name])
    inputs, hidden = field["decoder.net.0.weight"].shape[1], field["decoder.net.2.weight"].shape[1]
    if below is not None:
        heights = torch.linspace(-0.5, 0.5, 64)[:, None].expand(64, 64)  # the first plane is x, y
        field["planes"][0, 0, 0] = torch.where(heights < below, 3.0, -3.0)
        field["decoder.net.0.weight"][0, 0] = 20 * inputs**0.5
        field["decoder.net.2.weight"][[0, -1], 0] = 5 * hidden**0.5
    field["decoder.net.2.bias"][[0, -1]] = -20.0
    return field


@pytest.fixture(scope="module")
def face() -> tuple[Any, torch.Tensor, InversionProblem]:
    generator = load_generator("bundled")
    z = torch.randn(1, generator.config.z_dim, generator=torch.Generator().manual_seed(3))
    ws = generator.mapping(z).detach().expand(2, -1, -1)
    yaw = torch.tensor([-0.1, 0.2])
    problem = InversionProblem(
        crops=np.zeros((2, 8, 8, 3), np.uint8),
        frames=np.arange(2),
        cam2world=look_at(yaw, torch.zeros(2)),
        intrinsics=default_intrinsics(2),
    )
    return generator, ws, problem


def share_of(face: tuple[Any, torch.Tensor, InversionProblem], below: float | None, edit: Edit) -> Any:
    """The share of an edit that a made field hides, and the share of the picture's lowest third it takes."""
    generator, ws, problem = face
    inversion = Inversion(
        "in-n-out",
        "draft",
        generator.card.fingerprint,
        np.arange(2),
        ws,
        ood=made_field(generator, below),
        info={"render": {"coarse": 16, "fine": 16}},
    )
    renderer = InversionRenderer(generator, inversion)
    rows = np.arange(2)
    seen = renderer.render(rows, problem.cam2world, problem.intrinsics, high_resolution=False)
    assert seen.blend is not None
    blend = seen.blend[:, 0].numpy()
    edited = codes_of(
        generator, inversion, Variant((edit,)), np.zeros(2), own_directions(generator).named, 0.2
    )
    share = hidden_share(renderer, problem, edited, blend, rows)
    return share, float(blend[:, blend.shape[1] * 2 // 3 :].mean()), float(blend.mean())


def test_a_field_over_the_mouth_hides_a_smile_and_not_glasses(face: Any) -> None:
    smile, low, taken = share_of(face, -0.02, Edit("smile", 1.5))
    assert low > 0.95 and 0.3 < taken < 0.7, "the field covers the lower half of the face"
    glasses, _, _ = share_of(face, -0.02, Edit("glasses", 1.5))
    assert glasses < 0.5 < smile


def test_a_field_that_covers_nothing_hides_nothing(face: Any) -> None:
    share, _, taken = share_of(face, None, Edit("smile", 1.5))
    assert taken < 0.01 and share < 0.01


def test_an_edit_that_shows_nowhere_is_no_hidden_one(face: Any) -> None:
    assert share_of(face, -0.02, Edit("smile", 0.0))[0] is None


@given(st.lists(st.floats(0, 1), max_size=40))
def test_few_rows_are_looked_at_and_the_edit_is_in_force_there(presence: list[float]) -> None:
    given_to = np.array(presence)
    rows = rows_to_look_at(given_to)
    assert len(rows) == min(
        MOST_ROWS, int(((given_to > 0) & (given_to >= given_to.max(initial=0) / 2)).sum())
    )
    assert (np.diff(rows) > 0).all() and (given_to[rows] > 0).all()


def test_rows_are_spread_over_the_range() -> None:
    presence = np.zeros(100)
    presence[20:60] = 1.0
    assert rows_to_look_at(presence).tolist() == [25, 35, 45, 55]


def test_pixels_count_by_how_much_they_change() -> None:
    class Drawn:
        """A picture whose left half an edit changes by a half, and all by a little."""

        def render(self, rows: Any, *cameras: Any, ws: Any = None, **how: Any) -> Any:
            assert how == {"remove_occluder": True, "high_resolution": False}
            image = torch.zeros(1, 3, 4, 4)
            if ws is not None:
                image += 0.01
                image[:, 1, :, :2] += 0.5
            return SimpleNamespace(image_raw=image)

    problem = SimpleNamespace(cam2world=torch.zeros(3, 4, 4), intrinsics=torch.zeros(3, 3, 3))
    blend = np.zeros((3, 4, 4), np.float16)
    blend[1, :, 2:] = 1.0  # what hides the other half
    blend[2, :2] = 0.5
    ws: Any = torch.zeros(3, 1, 1)
    shares = [hidden_share(Drawn(), problem, ws, blend, np.array(rows)) for rows in ([0], [1], [2], [1, 2])]  # type: ignore[arg-type]
    assert shares == [0.0, 0.0, 0.25, 0.125]
