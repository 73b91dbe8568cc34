"""Hair of people: it follows the person's numbers, lies on the head, and moves with the face."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from inverters.people.body import Body, Shape, body, mean_values
from inverters.people.expressions import actions_of
from inverters.people.hair import Hair, grow, hair_colour, scalp_cover
from inverters.people.hair.colour import grey_share
from inverters.people.hair.face import beard, brows
from inverters.people.hair.head import head_hair
from inverters.people.hair.head_field import head_field
from inverters.people.hair.lashes import lash_strips, lashes
from inverters.people.labels import BEARD, BROW, HAIR
from inverters.people.light import Light
from inverters.people.params import Values

QUIET = {
    **dict.fromkeys(("smile", "mouth_open", "blink", "frown", "surprise", "pucker", "squint"), 0.0),
    **dict.fromkeys(("gaze_x", "gaze_y", "brows", "beard", "fringe", "hair_tie", "hairline"), 0.0),
    **{"age": 30.0, "african": -1.0, "asian": -1.0, "caucasian": 1.0, "hair_curl": 0.1},
}
STYLES = {
    "crop": {"gender": 0.0, "hair_length": 0.25},
    "short": {"gender": 0.0, "hair_length": 0.62},
    "curly": {"gender": 0.0, "hair_length": 0.62, "hair_curl": 0.7},
    "afro": {"gender": 1.0, "hair_length": 0.5, "hair_curl": 0.95, "african": 1.0, "caucasian": -1.0},
    "bob": {"gender": 1.0, "hair_length": 0.38},
    "long": {"gender": 1.0, "hair_length": 0.8},
    "bun": {"gender": 1.0, "hair_length": 0.8, "hair_tie": 0.95},
    "pony tail": {"gender": 1.0, "hair_length": 0.8, "hair_tie": 0.75},
    "fringe": {"gender": 1.0, "hair_length": 0.8, "fringe": 0.95},
}


def _values(**changes: float) -> dict[str, Tensor]:
    return mean_values(**{**QUIET, **changes})


def _shape(values: Values) -> Shape:
    return body().shape(values, actions_of(values))


def _grown(**changes: float) -> tuple[Hair, Shape, Body]:
    values = _values(**changes)
    shape = _shape(values)
    return grow(values, 0, body(), shape), shape, body()


def _lengths(points: Tensor) -> Tensor:
    return points.diff(dim=1).norm(dim=-1).sum(1)


def _head(hair: Hair) -> Tensor:
    """Points of the hair of the head [N,3]."""
    return torch.cat([t.points.reshape(-1, 3) for t in hair.tufts if t.label == HAIR])


@pytest.mark.parametrize("gender", [0.0, 1.0])
def test_hair_grows_longer_with_its_length(gender: float) -> None:
    found = []
    for length in (0.05, 0.25, 0.45, 0.65, 0.8, 0.95):
        tuft = _grown(gender=gender, hair_length=length)[0].tufts[-1]
        found.append(float(_lengths(tuft.points).quantile(0.9)))
    assert found == sorted(found)
    assert found[0] < 0.03 and found[-1] > 0.3


def test_length_changes_hair_continuously() -> None:
    ways = [_grown(gender=1.0, hair_length=0.5 + step)[0].tufts[-1] for step in (0.0, 0.002)]
    longer = _lengths(ways[1].points).mean() - _lengths(ways[0].points).mean()
    assert abs(float(longer)) < 0.01


def test_men_have_shorter_hair() -> None:
    man, woman = (_grown(gender=g, hair_length=0.5)[0].tufts[-1] for g in (0.0, 1.0))
    assert _lengths(man.points).median() < 0.6 * _lengths(woman.points).median()


@pytest.mark.parametrize("style", STYLES)
def test_hair_is_rooted_in_the_head_and_stays_out_of_it(style: str) -> None:
    hair, shape, mesh = _grown(**STYLES[style])
    field = head_field(mesh, shape.neutral, shape.neutral_normals)
    for tuft in hair.tufts:
        assert torch.isfinite(tuft.points).all()
        if tuft.label != HAIR:
            continue
        height, _ = field.height(tuft.points)
        assert float(height[:, 0].abs().quantile(0.99)) < 0.008
        assert float((height < -0.004).float().mean()) < 0.002


@pytest.mark.parametrize("style", ["bob", "long", "bun", "pony tail"])
def test_hair_leaves_the_face_free(style: str) -> None:
    hair, _, mesh = _grown(**STYLES[style])
    points = _head(hair)
    x, y, z = points.unbind(1)
    before = (x.abs() < 0.09) & (y < 0.10) & (y > -0.2) & (z > 0.08)
    assert float(before.float().mean()) < 1e-3
    assert float(mesh.eyes["left"][2]) > 0.08


def test_tied_hair_lies_behind() -> None:
    loose, tied = (_head(_grown(gender=1.0, hair_length=0.8, hair_tie=tie)[0]) for tie in (0.3, 0.95))
    assert float(loose[:, 1].min()) < -0.25
    below = tied[tied[:, 1] < -0.05]
    assert float((below[:, 2] < 0.02).float().mean()) > 0.98


def test_a_fringe_falls_over_the_forehead_and_begins_at_nothing() -> None:
    lowest = []
    for fringe in (0.60, 0.70, 0.78, 0.95):
        points = _head(_grown(gender=1.0, hair_length=0.5, fringe=fringe)[0])
        over = (points[:, 0].abs() < 0.06) & (points[:, 2] > 0.10)
        lowest.append(float(points[over, 1].min()) if over.any() else 1.0)
    assert lowest[0] >= lowest[1] >= lowest[2] >= lowest[3]
    assert lowest[3] < 0.15 < lowest[0]


def test_nobody_without_hair_grows_any() -> None:
    values = _values(gender=0.0, hair_length=0.0)
    assert head_hair(values, 0, body(), _shape(values)) == []


def test_a_receding_hairline_leaves_the_top_bare() -> None:
    full, thin = (_values(gender=0.0, hair_length=0.4, hairline=h, age=70.0) for h in (0.0, 1.0))
    place = body().level2.canonical
    top = (place[:, 1] > 0.27) & (place[:, 2] > 0.0)
    assert float(scalp_cover(full, 0, body())[top].mean()) > 0.7
    assert float(scalp_cover(thin, 0, body())[top].mean()) < 0.1
    woman = _values(gender=1.0, hair_length=0.4, hairline=1.0, age=70.0)
    assert float(scalp_cover(woman, 0, body())[top].mean()) > 0.7


def test_scalp_cover_leaves_face_ears_and_eyes_free() -> None:
    mesh = body()
    cover = scalp_cover(_values(gender=1.0, hair_length=0.8), 0, mesh)
    assert cover.shape == (len(mesh.level2.canonical),)
    assert float(cover.min()) >= 0 and float(cover.max()) <= 1
    assert float(cover[mesh.level2.part != 0].max()) == 0
    assert float(cover[mesh.level2.mask("ears") > 0.5].max()) < 0.05
    assert (
        float(cover[(mesh.level2.canonical[:, 1] < 0.15) & (mesh.level2.canonical[:, 2] > 0.1)].max()) < 0.05
    )


def test_a_wider_head_moves_the_hair() -> None:
    narrow, wide = (_grown(gender=1.0, hair_length=0.8, head_width=w)[0] for w in (-1.0, 1.0))
    extent = [float(_head(h)[:, 0].abs().quantile(0.95)) for h in (narrow, wide)]
    assert extent[1] > extent[0] + 0.002


def test_an_expression_does_not_move_the_hair_of_the_head() -> None:
    still, moved = (_grown(gender=1.0, hair_length=0.8, mouth_open=m)[0] for m in (0.0, 1.0))
    torch.testing.assert_close(_head(still), _head(moved))


def test_brows_rise_with_the_brows() -> None:
    heights = []
    for lift in (-1.0, 0.0, 1.0):
        values = _values(brows=lift)
        heights.append(float(brows(values, 0, body(), _shape(values)).points[..., 1].mean()))
    assert heights[0] < heights[1] < heights[2]


def test_thicker_brows_have_more_hairs() -> None:
    thin, thick = (_values(brow_thickness=t) for t in (0.0, 1.0))
    counts = [len(brows(v, 0, body(), _shape(v)).points) for v in (thin, thick)]
    assert counts[0] * 1.5 < counts[1]


def test_lashes_move_with_the_lids() -> None:
    strips = lash_strips(body())
    assert sorted(s.upper for s in strips) == [False, False, True, True]
    open_eye, closed = _values(blink=0.0), _values(blink=1.0)
    tops = [float(lashes(v, 0, body(), _shape(v)).points[..., 1].max()) for v in (open_eye, closed)]
    assert tops[1] < tops[0] - 0.01


def test_a_beard_grows_on_men_alone_and_follows_the_jaw() -> None:
    woman = _values(gender=1.0, beard=1.0)
    assert beard(woman, 0, body(), _shape(woman)) is None
    shaven = _values(gender=0.0, beard=0.4)
    assert beard(shaven, 0, body(), _shape(shaven)) is None
    chins = []
    for jaw in (0.0, 1.0):
        values = _values(gender=0.0, beard=1.0, beard_shape=1.0, mouth_open=jaw)
        tuft = beard(values, 0, body(), _shape(values))
        assert tuft is not None and tuft.label == BEARD
        chins.append(float(tuft.points[..., 1].quantile(0.1)))
    assert chins[1] < chins[0] - 0.01


def test_beards_lengthen_with_the_parameter() -> None:
    found = []
    for full in (0.6, 0.8, 1.0):
        values = _values(gender=0.0, beard=full)
        tuft = beard(values, 0, body(), _shape(values))
        assert tuft is not None
        found.append(float(_lengths(tuft.points).mean()))
    assert found[0] < found[1] < found[2]


def test_hair_turns_from_black_to_blond_and_grey_with_age() -> None:
    shades = [float(hair_colour(_values(hair_colour=c)).mean()) for c in (0.0, 0.5, 0.8, 1.0)]
    assert shades == sorted(shades) and shades[0] < 0.05 < 0.25 < shades[-1]
    red = hair_colour(_values(hair_colour=0.7, hair_red=1.0))
    assert float(red[0] / red[2]) > 2.5
    shares = [grey_share(_values(age=a)) for a in (25.0, 45.0, 60.0, 80.0)]
    assert shares[0] < 0.02 and shares == sorted(shares) and shares[-1] > 0.8


def test_occluders_are_few_and_colours_are_displayable() -> None:
    hair, shape, _ = _grown(**STYLES["long"])
    occluders = hair.occluders()
    assert occluders.shape[1] == 3 and 10_000 < len(occluders) <= 60_000
    light = Light(_values(), 0, torch.cat([shape.vertices, occluders]))
    strands = hair.coloured(light)
    assert {s.label for s in strands} >= {HAIR, BROW}
    for s in strands:
        assert s.colours.shape == s.points.shape
        assert float(s.colours.min()) >= 0 and float(s.colours.max()) <= 1
    drawn = sum(s.points.shape[0] * s.points.shape[1] for s in strands)
    assert drawn <= 25_000 * 24


def test_light_hair_is_lighter_in_the_picture() -> None:
    means = []
    for colour in (0.05, 0.95):
        values = _values(**STYLES["long"], hair_colour=colour)
        shape = _shape(values)
        hair = grow(values, 0, body(), shape)
        light = Light(values, 0, torch.cat([shape.vertices, hair.occluders()]))
        means.append(float(hair.coloured(light)[-1].colours.mean()))
    assert means[0] + 0.2 < means[1]


def test_hair_is_the_same_each_time() -> None:
    first, second = (_grown(**STYLES["curly"], beard=0.9)[0] for _ in range(2))
    for a, b in zip(first.tufts, second.tufts, strict=True):
        assert torch.equal(a.points, b.points) and torch.equal(a.base, b.base)
