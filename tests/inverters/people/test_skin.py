"""Skin: its colours follow the parameters that name them."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import Tensor

from inverters.people.body import Shape, body, mean_values
from inverters.people.expressions import actions_of
from inverters.people.light import SKIN_WRAP, Light, Lit
from inverters.people.params import Values, sample_scores, to_values
from inverters.people.skin import paint_skin
from inverters.people.skin.lines import strengths
from inverters.people.skin.mouth import gap
from inverters.people.skin.places import places
from inverters.people.subdivision import split_long

_EUROPEAN = {"caucasian": 1.0, "african": -1.0, "asian": -1.0}


def _lit(values: Values) -> tuple[Shape, Lit]:
    mesh = body()
    shape = mesh.shape(values, actions_of(values))
    light = Light(values, 0, shape.vertices[mesh.level1.canonical[:, 1] > -0.6])
    return shape, light.at(shape.vertices, shape.normals, SKIN_WRAP)


@cache
def _painted(changes: tuple[tuple[str, float], ...]) -> Tensor:
    values = mean_values(**dict(changes))
    return paint_skin(values, 0, body(), *_lit(values))


def _colours(**changes: float) -> Tensor:
    return _painted(tuple(sorted({"smile": 0.0, "gender": 1.0, "age": 25.0, **changes}.items())))


def _mean(colours: Tensor, where: Tensor) -> Tensor:
    return (colours * where[:, None]).sum(0) / where.sum()


def _face() -> Tensor:
    return places(body()).cheek + places(body()).forehead


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_colours_of_random_people_are_finite_display_values(seed: int) -> None:
    values = to_values(sample_scores(1, torch.Generator().manual_seed(seed)))
    colours = paint_skin(values, 0, body(), *_lit(values))
    assert colours.shape == body().level2.canonical.shape
    assert torch.isfinite(colours).all()
    assert colours.min() >= 0 and colours.max() <= 1


def test_darker_skin_is_darker_in_every_channel() -> None:
    light, mean, dark = (_mean(_colours(skin=s), _face()) for s in (-1.0, 0.0, 1.0))
    assert (light > mean).all() and (mean > dark).all()


def test_african_skin_is_darker_than_asian_and_european() -> None:
    levels = [
        _mean(_colours(**{n: (1.0 if n == own else -1.0) for n in _EUROPEAN}), _face()).mean()
        for own in ("african", "asian", "caucasian")
    ]
    assert levels[0] < levels[1] - 0.1 and levels[1] < levels[2]


def test_blood_reddens_cheeks() -> None:
    cheek = places(body()).cheek
    pale, ruddy = (_mean(_colours(**_EUROPEAN, blood=b), cheek) for b in (0.0, 1.0))
    assert ruddy[1] / ruddy[0] < pale[1] / pale[0]


def test_warm_skin_is_yellower() -> None:
    cool, warm = (_mean(_colours(skin_warmth=w), _face()) for w in (-1.0, 1.0))
    assert warm[2] / warm[0] < cool[2] / cool[0]


def test_age_adds_lines_to_the_forehead() -> None:
    c = body().level2.canonical
    where = (c[:, 1] > 0.11) & (c[:, 1] < 0.19) & (c[:, 0].abs() < 0.06) & (c[:, 2] > 0.1)
    young, old = (_colours(age=a, **_EUROPEAN)[where].mean(1) for a in (20.0, 80.0))
    assert old.std() > 1.1 * young.std()


def test_a_smile_deepens_the_folds_it_makes() -> None:
    rest, smile = (strengths(mean_values(smile=s, age=50.0), 0) for s in (0.0, 1.0))
    assert (smile - rest).max() > 0.2


def test_freckles_only_in_the_last_third_and_on_light_skin() -> None:
    none, threshold, many = (_colours(**_EUROPEAN, freckles=f) for f in (0.0, 0.66, 1.0))
    assert torch.equal(none, threshold)
    assert (none - many).amax() > 0.05
    dark = {"african": 1.0, "asian": -1.0, "caucasian": -1.0, "skin": 1.0}
    assert (_colours(**dark) - _colours(**dark, freckles=1.0)).abs().amax() < 0.03


def test_moles_are_few_and_brown() -> None:
    none, several = (_colours(**_EUROPEAN, moles=m) for m in (0.0, 1.0))
    changed = (none - several).amax(1) > 0.02
    assert 0 < changed.float().mean() < 0.01


def test_lip_colour_reddens_womens_lips_more_than_mens() -> None:
    lips = places(body()).lips
    change = []
    for gender in (0.0, 1.0):
        pale, red = (_mean(_colours(gender=gender, lip_colour=c), lips) for c in (0.0, 1.0))
        change.append(float(pale[1] - red[1]))
    assert change[1] > 0.03 and change[1] > 3 * change[0]


def test_make_up_darkens_lids_of_women_alone() -> None:
    lids = places(body()).lids
    woman = [_mean(_colours(make_up=m), lids).mean() for m in (0.5, 1.0)]
    man = [_mean(_colours(gender=0.0, make_up=m), lids).mean() for m in (0.5, 1.0)]
    assert woman[1] < woman[0] - 0.03
    assert torch.equal(man[0], man[1])


def test_stubble_darkens_the_chin_of_men_alone() -> None:
    beard = places(body()).beard
    man = [_mean(_colours(gender=0.0, beard=b), beard).mean() for b in (0.2, 0.45)]
    assert man[1] < man[0] - 0.02
    assert torch.equal(_colours(beard=0.2), _colours(beard=0.45))


def test_shine_adds_light() -> None:
    matt, oily = (_colours(shine=s) for s in (0.0, 1.0))
    assert (oily - matt).amin() > -1e-4 and (oily - matt).amax() > 0.02


def test_covered_skin_takes_the_colour_of_hair() -> None:
    mesh, values = body(), mean_values()
    shape, lit = _lit(values)
    cover = (mesh.level2.canonical[:, 1] > 0.2).float()
    black = paint_skin(values, 0, mesh, shape, lit, cover, torch.tensor([0.01, 0.01, 0.01]))
    bare = paint_skin(values, 0, mesh, shape, lit)
    assert black[cover > 0.5].mean() < 0.6 * bare[cover > 0.5].mean()
    outside = (cover < 0.5) & (mesh.level2.part == 0)
    assert torch.equal(black[outside], bare[outside])


def test_teeth_show_bright_in_a_smile_and_dark_behind_closed_lips() -> None:
    mesh = body()
    front = mesh.level2.is_part("upper_teeth") & (mesh.level2.canonical[:, 2] > 0.2)
    closed, smile = (_colours(smile=s)[front].mean() for s in (0.0, 1.0))
    assert smile > closed + 0.2
    values = mean_values(mouth_open=1.0)
    assert gap(mesh, _lit(values)[0]) > 0.02


def test_long_edges_are_halved_without_gaps() -> None:
    triangles = torch.tensor([[0, 1, 2], [2, 1, 3]])
    points = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [1.2, 1.2, 0]])
    split = split_long(triangles, points, torch.ones(4, dtype=torch.bool), 1.1, rounds=3)
    fine = split.matrix @ points
    a, b, c = (fine[split.triangles[:, k]] for k in range(3))
    area = 0.5 * torch.linalg.cross(b - a, c - a)[:, 2]
    a, b, c = (points[triangles[:, k]] for k in range(3))
    assert (area > 0).all()
    assert float(area.sum()) == pytest.approx(float(0.5 * torch.linalg.cross(b - a, c - a)[:, 2].sum()))
    sides = torch.cat([split.triangles[:, [i, j]] for i, j in ((0, 1), (1, 2), (2, 0))])
    assert (fine[sides[:, 0]] - fine[sides[:, 1]]).norm(dim=1).max() <= 1.1
    assert set(split.parent.tolist()) == {0, 1}
