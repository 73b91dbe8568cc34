"""The people's pictures for the stored set: formats, cameras, and depth at half the size."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from inverters.people import person, picture
from inverters.people.params import index
from inverters.rendering.cameras import angles
from inverters.training import people_pictures
from inverters.training.people_pictures import (
    MAP_SIZE,
    MAX_PITCH,
    MAX_YAW,
    NUM_PARAMETERS,
    SIZE,
    VIEWS,
    ZOOM,
    before_new_backdrops,
    make_people,
    open_set,
    random_views,
    sample_scores,
    start_workers,
)
from inverters.training.stored_set import zoomed_intrinsics


@pytest.fixture
def painted(monkeypatch: pytest.MonkeyPatch) -> None:
    """People are one grey level, so that making them takes no time."""

    def draw(one: torch.Tensor, camera: torch.Tensor, lens: torch.Tensor, size: tuple[int, int]) -> object:
        image = torch.sigmoid(one[0]).expand(3, *size) * 2 - 1
        label = torch.arange(size[0], dtype=torch.uint8)[:, None].expand(size)
        return SimpleNamespace(image=image, depth=torch.full(size, torch.inf), label=label)

    monkeypatch.setattr(person, "make_person", lambda scores, device: scores)
    monkeypatch.setattr(picture, "draw", draw)
    monkeypatch.setattr(picture, "backdrop_share", lambda one, camera, lens, size: torch.full(size, 0.2))
    monkeypatch.setattr(people_pictures, "PART_PEOPLE", 3)


def test_people_are_made_until_there_are_enough(tmp_path: Path, painted: None) -> None:
    assert make_people(tmp_path, 4, seed=1) == 3  # one part held out, two of three people
    stored = open_set(tmp_path)
    assert len(stored) == 6 and len(open_set(tmp_path, held_out=True)) == 3
    found = stored.read([5])
    assert found["image"].shape == (1, VIEWS, 3, SIZE, SIZE) and found["scores"].shape[1] == NUM_PARAMETERS
    assert found["label"].shape == found["depth"].shape == (1, VIEWS, MAP_SIZE, MAP_SIZE)
    assert found["depth"].isfinite().all()
    grey = (torch.sigmoid(found["scores"][0, 0]) * 255).round()
    assert (found["image"].float() - grey).abs().max() <= 1
    assert make_people(tmp_path, 4, seed=1) == 0
    assert start_workers(tmp_path, 4, 2, seed=1) == []


def test_what_a_part_holds_follows_from_its_number_and_the_seed(tmp_path: Path, painted: None) -> None:
    make_people(tmp_path / "a", 3, seed=1)
    make_people(tmp_path / "b", 3, seed=1)
    make_people(tmp_path / "c", 3, seed=2)
    a, b, c = (open_set(tmp_path / name).read([0, 1, 2])["scores"] for name in "abc")
    assert torch.equal(a, b) and not torch.equal(a, c)


def test_views_lie_in_range_and_the_first_is_near_frontal() -> None:
    cameras, zoom = random_views(200, torch.Generator().manual_seed(0))
    yaw, pitch = (a.reshape(200, VIEWS) for a in angles(cameras.flatten(0, 1)))
    assert yaw.abs().max() <= MAX_YAW + 1e-5 and pitch.abs().max() <= MAX_PITCH + 1e-5
    assert yaw[:, 0].abs().max() < 0.2 * MAX_YAW and yaw[:, 1:].abs().max() > 0.9 * MAX_YAW
    assert ZOOM[0] <= zoom.min() < zoom.max() <= ZOOM[1]


def test_a_new_backdrop_gives_the_picture_of_the_person_before_it() -> None:
    """Hair that lets light through, lenses and outlines too."""
    rng = torch.Generator().manual_seed(2)
    scores = sample_scores(1, rng)
    scores[:, index("glasses")], scores[:, index("hair_length")] = 2.0, 1.0
    cameras, zoom = random_views(1, rng)

    def drawn(row: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        made = person.make_person(row)
        views = [(*c, (SIZE, SIZE)) for c in zip(cameras[0], zoomed_intrinsics(zoom[0]), strict=True)]
        shares = torch.stack([picture.backdrop_share(made, *view) for view in views])
        return torch.stack([(picture.draw(made, *view).image + 1) * 127.5 for view in views]), shares * 255

    image, share = drawn(scores[0])
    stored = {"scores": scores, "image": image[None], "backdrop": share[None]}
    stored = {k: v if k == "scores" else v.round().byte() for k, v in stored.items()}
    found = before_new_backdrops(stored | {"cam2world": cameras, "zoom": zoom}, rng)
    same = [k for k, p in enumerate(people_pictures.PARAMETERS) if p.group != "background"]
    assert torch.equal(found["scores"][:, same], scores[:, same])
    truth = drawn(found["scores"][0])[0]
    assert (image - truth).abs().mean() > 5
    difference = (found["image"][0].float() - truth).abs()
    assert difference.max() < 3 and difference.mean() < 0.5


def test_a_mirrored_person_is_the_one_that_its_scores_describe() -> None:
    rng = torch.Generator().manual_seed(4)
    scores = sample_scores(1, rng).expand(8, -1)
    cameras, zoom = (x.expand(8, *x.shape[1:]) for x in random_views(1, rng))
    view = (zoomed_intrinsics(zoom[0])[1], (SIZE, SIZE))
    plain = picture.draw(person.make_person(scores[0]), cameras[0, 1], *view)
    stored = {"scores": scores, "cam2world": cameras, "zoom": zoom}
    maps = {"image": plain.image, "depth": plain.depth, "label": plain.label, "backdrop": plain.depth}
    stored |= {name: value.expand(8, 2, *value.shape) for name, value in maps.items()}
    found = people_pictures.some_mirrored(stored, rng)
    turned = [k for k in range(8) if not torch.equal(found["scores"][k], scores[k])]
    assert 0 < len(turned) < 8
    kept = next(k for k in range(8) if k not in turned)
    assert torch.equal(found["image"][kept], stored["image"][kept])
    made = person.make_person(found["scores"][turned[0]])
    truth = picture.draw(made, found["cam2world"][turned[0], 1], *view)
    error = (found["image"][turned[0], 1] - truth.image).square().mean()
    assert error < 0.1 * (plain.image - truth.image).square().mean()
    assert (found["label"][turned[0], 1] != truth.label).float().mean() < 0.03


def test_halved_depth_lies_on_one_surface() -> None:
    depth = torch.full((4, 4), 3.0)
    depth[:, :3] = 2.5  # an outline through the second column of squares
    depth[0, 2], depth[3, 3] = 3.0, 2.5
    half = people_pictures._halved(depth)
    assert set(half.flatten().tolist()) == {2.5, 3.0}
    assert half[:, 0].tolist() == [2.5, 2.5] and half[0, 1] == 3.0 and half[1, 1] == 2.5
