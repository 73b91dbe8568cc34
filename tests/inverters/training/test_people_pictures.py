"""The people's pictures for the stored set: formats, cameras, and depth at half the size."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from textwrap import dedent
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
    make_people,
    open_set,
    random_views,
    sample_scores,
    start_workers,
    varied,
)
from inverters.training.stored_set import zoomed_intrinsics
from tests.inverters.test_threads import until


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


def test_workers_of_a_killed_process_end_after_their_part(tmp_path: Path) -> None:
    code = f"""
        import time
        from pathlib import Path
        from inverters.training import people_pictures

        people_pictures.PART_PEOPLE = 2  # in the worker too, which imports this file
        if __name__ == "__main__":
            (worker,) = people_pictures.start_workers(Path({str(tmp_path)!r}), 1_000_000, 1)
            print(worker.pid, flush=True)
            time.sleep(600)
    """
    script = tmp_path / "parent.py"
    script.write_text(dedent(code))
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        status = Path("/proc") / parent.stdout.readline().strip() / "status"
        until(lambda: any(tmp_path.glob("*.part")))
        parent.kill()
    until(lambda: not status.exists() or "(zombie)" in status.read_text())
    parts = list(tmp_path.glob("people-*"))
    assert parts and all(part.suffix == ".safetensors" for part in parts)


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


def eight_times(scores: torch.Tensor, rng: torch.Generator) -> dict[str, torch.Tensor]:
    """Stored views of one person [1,P], eight times."""
    cameras, zoom = random_views(1, rng)
    image, share = drawn(scores[0], cameras[0], zoom[0])
    one = {"scores": scores, "image": image[None].round().byte(), "backdrop": share[None].round().byte()}
    one |= {"cam2world": cameras, "zoom": zoom, "depth": share[None], "label": share[None].byte()}
    return {name: value.expand(8, *value.shape[1:]) for name, value in one.items()}


def turned(found: dict[str, torch.Tensor], stored: dict[str, torch.Tensor]) -> torch.Tensor:
    """Who was mirrored [N]."""
    return (found["cam2world"] != stored["cam2world"]).flatten(1).any(1)


def drawn(row: torch.Tensor, cameras: torch.Tensor, zoom: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures [V,3,S,S] and shares of the backdrop [V,S,S] of a person, in [0,255]."""
    made = person.make_person(row)
    views = [(*c, (SIZE, SIZE)) for c in zip(cameras, zoomed_intrinsics(zoom), strict=True)]
    shares = torch.stack([picture.backdrop_share(made, *view) for view in views])
    return torch.stack([(picture.draw(made, *view).image + 1) * 127.5 for view in views]), shares * 255


def test_a_new_backdrop_gives_the_picture_of_the_person_before_it() -> None:
    """Hair that lets light through, lenses and outlines too; of mirrored people the backdrop's own pixels."""
    rng = torch.Generator().manual_seed(2)
    scores = sample_scores(1, rng)
    scores[:, index("glasses")], scores[:, index("hair_length")] = 2.0, 1.0
    several = eight_times(scores, rng)
    found = varied(several, torch.Generator().manual_seed(3))
    background = torch.tensor([p.group == "background" for p in people_pictures.PARAMETERS])
    mirrored = turned(found, several)
    assert 0 < mirrored.sum() < 8
    assert not torch.equal(found["scores"][0, background], found["scores"][1, background])
    for row in (mirrored.nonzero()[0].item(), (~mirrored).nonzero()[0].item()):
        truth, share = drawn(found["scores"][row], found["cam2world"][row], found["zoom"][row])
        difference = (found["image"][row].float() - truth).abs()
        wall = ((share == 255) & (found["backdrop"][row] == 255))[:, None].expand_as(truth)
        assert wall.float().mean() > 0.2 and difference[wall].max() < 3 and difference[wall].mean() < 0.5
        if not mirrored[row]:
            assert torch.equal(found["scores"][row, ~background], several["scores"][row, ~background])
            assert (several["image"][row] - truth).abs().mean() > 5
            assert difference.max() < 3 and difference.mean() < 0.5


def test_a_mirrored_person_is_the_one_that_its_scores_describe() -> None:
    rng = torch.Generator().manual_seed(4)
    several = eight_times(sample_scores(1, rng), rng)
    found = varied(several, rng)
    row = int(turned(found, several).nonzero()[0])
    for name in people_pictures.SIDEWAYS:
        assert found["scores"][row, index(name)] == -several["scores"][row, index(name)]
    for name in ("backdrop", "depth", "label"):
        assert torch.equal(found[name][row], several[name][row].flip(-1))
    truth, share = drawn(found["scores"][row], found["cam2world"][row], found["zoom"][row])
    error = (found["image"][row].float() - truth).square().mean()
    assert error < 0.1 * (found["image"][row].flip(-1).float() - truth).square().mean()
    assert ((found["backdrop"][row] > 127) != (share > 127)).float().mean() < 0.03


def test_halved_depth_lies_on_one_surface() -> None:
    depth = torch.full((4, 4), 3.0)
    depth[:, :3] = 2.5  # an outline through the second column of squares
    depth[0, 2], depth[3, 3] = 3.0, 2.5
    half = people_pictures._halved(depth)
    assert set(half.flatten().tolist()) == {2.5, 3.0}
    assert half[:, 0].tolist() == [2.5, 2.5] and half[0, 1] == 3.0 and half[1, 1] == 2.5
