"""Occluders stand before people by depth, with exact masks, and hide what they are meant to hide."""

from __future__ import annotations

from functools import cache

import pytest
import torch

from inverters.errors import UnknownNameError
from inverters.people.labels import OCCLUDER
from inverters.people.occluders import OCCLUDERS, animate_occluder, make_occluder
from inverters.people.occluders.surface import landmark, skin_points, taut
from inverters.people.params import index, sample_scores
from inverters.people.person import Person, make_person
from inverters.people.picture import Extra, draw
from inverters.rendering.cameras import default_intrinsics, look_at

NAMES = list(OCCLUDERS)
COMING = ("hand", "glass")
SIZE = (64, 64)


@cache
def person(seed: int = 3, mouth: float = -1.0) -> Person:
    scores = 0.7 * sample_scores(1, torch.Generator().manual_seed(seed))[0]
    for name, value in {"glasses": -1.2, "blink": -1.0, "hair_length": -1.0, "mouth_open": mouth}.items():
        scores[index(name)] = value
    return make_person(scores)


@cache
def made(name: str, seed: int = 5) -> Extra:
    state = animate_occluder(
        name, torch.tensor([0.9], dtype=torch.float64), torch.Generator().manual_seed(seed)
    )
    if name in COMING:
        state["way"] = torch.zeros(1, 1)
    return make_occluder(name, person(), state)


def points_of(extra: Extra) -> torch.Tensor:
    return torch.cat([m.vertices for m in (*extra.meshes, *extra.glassy)])


@pytest.mark.parametrize("name", NAMES)
def test_is_made_of_proper_meshes(name: str) -> None:
    extra = made(name)
    assert not extra.strands
    for mesh in (*extra.meshes, *extra.glassy):
        assert mesh.triangles.dtype == torch.int32
        assert 0 <= mesh.triangles.min() <= mesh.triangles.max() < len(mesh.vertices)
        assert torch.isfinite(mesh.vertices).all()
        assert ((mesh.colours >= 0) & (mesh.colours <= 1)).all()
        assert (mesh.labels == OCCLUDER).all()
    assert all(mesh.colours.shape[1] == 3 for mesh in extra.meshes)
    assert all(mesh.colours.shape[1] == 4 for mesh in extra.glassy)


@pytest.mark.parametrize("name", NAMES)
def test_mask_is_where_the_picture_changes(name: str) -> None:
    """Off the mask the picture is the clean one; on it, it is another picture, and nearer."""
    camera, lens = look_at(0.15, 0.05)[0], default_intrinsics()[0]
    clean, covered = (draw(person(), camera, lens, SIZE, extra) for extra in (None, made(name)))
    alpha = covered.occluder
    change = (covered.image - clean.image).abs().amax(0)
    assert 0.01 < alpha.mean() < 0.6
    assert not clean.occluder.any()
    # An occluder shines through hair that covers more than half of a sample, and is hair's.
    assert (change[alpha == 0] > 0.02).float().mean() < (0.01 if name == "hat" else 1e-6)
    assert change[alpha > 0.8].mean() > 0.1
    assert (covered.depth <= clean.depth + 1e-5)[alpha == 1].all()
    assert ((alpha > 0) & (alpha < 1)).any()


@pytest.mark.parametrize(
    ("name", "hidden", "free"),
    [
        (
            "mask",
            ((0.0, -0.12, 0.23), (0.0, -0.04, 0.25), (0.0, -0.20, 0.20)),
            ((0.07, 0.05, 0.18), (0.0, 0.2, 0.19)),
        ),
        ("sunglasses", ((0.071, 0.035, 0.18), (-0.071, 0.035, 0.18)), ((0.0, -0.12, 0.23), (0.0, 0.2, 0.19))),
        ("hat", ((0.0, 0.24, 0.16),), ((0.0, -0.12, 0.23), (0.0, -0.04, 0.25))),
        ("scarf", ((0.0, -0.215, 0.19),), ((0.0, -0.04, 0.25), (0.07, 0.05, 0.18))),
        ("microphone", ((0.0, -0.12, 0.23),), ((0.07, 0.05, 0.18), (0.0, 0.2, 0.19))),
        ("glass", ((0.0, -0.12, 0.23),), ((0.0, 0.2, 0.19),)),
    ],
)
def test_hides_what_it_should(
    name: str, hidden: tuple[tuple[float, float, float], ...], free: tuple[tuple[float, float, float], ...]
) -> None:
    """From the front, canonical points of the skin lie behind the occluder, or not."""
    camera, lens = look_at(0.0, 0.0)[0], default_intrinsics()[0]
    extra = make_occluder(name, person())
    alpha = draw(person(), camera, lens, (128, 128), extra).occluder
    for points, expected in ((hidden, True), (free, False)):
        for point in points:
            seen = (landmark(person().shape, point) - camera[:3, 3]) @ camera[:3, :3] @ lens.mT
            column, row = (seen[:2] / seen[2] * 128).int().tolist()
            assert bool(alpha[row, column] > 0.04) is expected, point


def test_mask_follows_the_face() -> None:
    """The cloth lies before the skin, near it, of a closed mouth and of an open one."""
    for mouth in (-1.0, 1.5):
        shape = person(3, mouth).shape
        cloth = make_occluder("mask", person(3, mouth)).meshes[0].vertices
        gap = torch.cdist(cloth, skin_points(shape)).amin(1)
        assert gap.max() < 0.05
        assert gap.median() < 0.02
    assert not torch.equal(cloth, make_occluder("mask", person(3, -1.0)).meshes[0].vertices)


def test_paint_moves_with_the_skin() -> None:
    shut, wide = (make_occluder("paint", person(3, m)).glassy[0].vertices for m in (-1.0, 1.5))
    assert torch.cdist(wide[::50], skin_points(person(3, 1.5).shape, ears=True)).amin(1).max() < 0.004
    assert (shut - wide).norm(dim=1).max() > 0.02


def test_hand_comes_touches_and_goes() -> None:
    times = torch.linspace(0, 3.6, 109, dtype=torch.float64)
    way = animate_occluder("hand", times, torch.Generator().manual_seed(1))["way"][:, 0]
    assert way[0] < -0.9
    assert way.min() < -0.9 < 0.9 < way.max()
    assert (way.abs() < 0.01).double().mean() > 0.25
    touching = points_of(make_occluder("hand", person(), {"way": torch.zeros(1, 1)}))
    gone = points_of(make_occluder("hand", person(), {"way": torch.ones(1, 1)}))
    skin = skin_points(person().shape)[::4]
    assert torch.cdist(touching, skin).min() < 0.008
    assert torch.cdist(gone, skin[skin[:, 1] > -0.24]).min() > 0.1


def test_glass_is_seen_through() -> None:
    camera, lens = look_at(0.3, 0.0)[0], default_intrinsics()[0]
    extra = make_occluder("glass", person(), {"way": torch.zeros(1, 1), "liquid": torch.zeros(1, 1)})
    alpha = draw(person(), camera, lens, (96, 96), extra).occluder
    assert ((alpha > 0.03) & (alpha < 0.5)).float().mean() > 0.01


def test_cloth_is_pulled_taut() -> None:
    obstacle = torch.zeros(9, 21)
    obstacle[4, 10] = 1.0
    cloth = taut(torch.zeros(9, 21), obstacle, 300)
    assert (cloth >= obstacle).all()
    assert cloth[4, 10] == 1.0
    assert 0.1 < cloth[4, 7] < cloth[4, 8] < 1.0
    assert not cloth[0].any()


@pytest.mark.parametrize("name", NAMES)
def test_same_draw_same_state(name: str) -> None:
    times = torch.arange(4, dtype=torch.float64) / 15
    one, two = (animate_occluder(name, times, torch.Generator().manual_seed(4)) for _ in range(2))
    assert set(one) == {p.name for p in OCCLUDERS[name].parameters}
    assert all(torch.equal(one[k], two[k]) and one[k].shape == (4, 1) for k in one)


def test_names_that_do_not_exist() -> None:
    with pytest.raises(UnknownNameError, match=r"veil.*sunglasses.*glass"):
        make_occluder("veil", person())
    with pytest.raises(UnknownNameError, match=r"veil.*scarf"):
        animate_occluder("veil", torch.zeros(1), torch.Generator())
    with pytest.raises(KeyError, match=r"hue.*pleats"):
        make_occluder("mask", person(), {"hue": torch.zeros(1, 1)})
