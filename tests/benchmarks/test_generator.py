"""The benchmark of generators of people: what it measures where the answer is known."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmarks import generator as benchmark
from benchmarks import generator_edits, generator_fidelity
from benchmarks.drawn_people import REST, pixels, true_picture, unseen, with_values
from benchmarks.figures_generator import generator as readme
from benchmarks.figures_generator import page
from benchmarks.people_expressions import regression, true_shapes
from inverters.generators.load import load_generator
from inverters.people.labels import EYE, LIPS
from inverters.people.params import PARAMETERS, index, to_values
from pipeline.scoring.blendshapes import NAMES, component

PERFECT = SimpleNamespace(config=SimpleNamespace(img_resolution=64))


def quiet(text: str) -> None:
    pass


def true_image(generator: object, scores: torch.Tensor, yaw: float) -> torch.Tensor:
    return true_picture(scores, yaw, 64).image


def test_values_are_set_in_scores() -> None:
    scores = with_values(unseen(3, 0), smile=0.5, age=torch.tensor([20.0, 50.0, 80.0]))
    values = to_values(scores)
    assert torch.allclose(values["smile"], torch.full((3, 1), 0.5), atol=1e-4)
    assert torch.allclose(values["age"].flatten(), torch.tensor([20.0, 50.0, 80.0]), atol=0.1)
    with pytest.raises(ValueError, match="smile goes from"):
        with_values(scores, smile=1.2)
    with pytest.raises(KeyError, match="mouth_open"):
        with_values(scores, grin=1.0)


def test_unseen_people_are_the_same_each_time_and_other_for_another_seed() -> None:
    assert torch.equal(unseen(4, 1), unseen(4, 1))
    assert not torch.equal(unseen(4, 1), unseen(4, 2))
    assert torch.equal(unseen(4, 1)[:2], unseen(2, 1))


@pytest.mark.parametrize("yaw", [0.0, 0.4])
def test_windows_hold_eyes_and_mouth(yaw: float) -> None:
    scores = with_values(unseen(1, 0), **REST, glasses=0.2, age=30.0, hair_length=0.05)[0]
    label = true_picture(scores, yaw).label
    eyes = generator_fidelity.eye_windows(scores, yaw, 256)
    mouth = generator_fidelity.mouth_window(label)
    assert (label == EYE).sum() > 50 and eyes[label == EYE].float().mean() > 0.98
    assert bool(mouth[label == LIPS].all())
    assert eyes.float().mean() < 0.06 and mouth.float().mean() < 0.08
    assert not bool((eyes & mouth).any())


def test_slope_and_correlation() -> None:
    true = np.array([0.1, 0.5, 1.0, np.nan])
    assert regression(true, 0.5 * true) == (pytest.approx(0.5), pytest.approx(1.0))
    assert regression(np.zeros(3), np.ones(3)) == (None, None)


def test_gain_of_a_perfect_generator_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generator_edits, "generated", true_image)
    monkeypatch.setattr(generator_edits, "true_picture", lambda s, yaw: true_picture(s, yaw, 64))

    weights = np.random.default_rng(0).normal(size=(64 * 64 * 3, len(NAMES)))
    reader = SimpleNamespace(name="pixels", read=lambda image: image.reshape(-1) / 255 @ weights)
    found = generator_edits.gains(PERFECT, 2, 0, reader, quiet)
    assert list(found) == ["smile", "jaw", "blink", "gaze", "brows"]
    for row in found.values():
        assert row["gain"] == pytest.approx(1.0) and row["pairs"] == 2
    monkeypatch.setattr(generator_edits, "generated", lambda *of: torch.zeros(3, 64, 64))
    still = generator_edits.gains(PERFECT, 2, 0, reader, quiet)
    for name, row in still.items():  # from a camera beside, true pictures change as before
        assert row["gain"] == 0 and row["truth"] == found[name]["truth"]
    assert len({row["truth"]["gain"] for row in still.values()}) == len(still)


def test_edits_start_at_rest_and_keep_the_person(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[torch.Tensor] = []
    monkeypatch.setattr(generator_edits, "_read", lambda g, s, yaw, r: asked.append(s) or np.zeros((3, 51)))
    generator_edits.gains(PERFECT, 1, 0, None, quiet)
    rest, smile, jaw, blink = asked[:4]
    expressive = {index(p.name) for p in PARAMETERS if p.group == "expression"}
    for moved, name in ((smile, "smile"), (jaw, "mouth_open"), (blink, "blink")):
        changed = set(torch.nonzero(moved != rest).flatten().tolist())
        assert changed == {index(name)} and changed <= expressive
    shapes = true_shapes(torch.stack([rest, smile, jaw, blink]))
    for k, name in enumerate(("smile", "jaw", "blink"), start=1):
        assert component(shapes[k], name) > component(shapes[0], name) + 0.1


def test_fidelity_of_a_known_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def brighter(generator: object, scores: torch.Tensor, yaw: float) -> torch.Tensor:
        return true_picture(scores, yaw, 64).image.clamp(-0.9, 0.9) + 0.02

    monkeypatch.setattr(generator_fidelity, "generated", brighter)
    found = generator_fidelity.fidelity(PERFECT, 2, 3, False, None, None, quiet)
    assert 25 < found["psnr"] <= 40.1 and 30 < found["psnr_mouth"] <= 40.1
    assert found["lpips"] is None and found["identity"] is None
    assert [row["pictures"] for row in found["by_yaw"].values()] == [1, 1, 0, 0, 0]
    assert sum(part["area"] for part in found["by_label"]) == pytest.approx(1, abs=1e-3)
    assert sum(part["error"] for part in found["by_label"]) == pytest.approx(1, abs=1e-3)
    assert all(25 < part["psnr"] <= 40.1 for part in found["by_label"] if part["area"] > 0.1)


def test_sign_and_leakage() -> None:
    names = [p.name for p in PARAMETERS]
    change = np.zeros((4, len(names)), np.float32)
    change[:, index("beard")] = [1.0, 0.5, -0.1, np.nan]
    change[:, index("age")] = 0.4
    change[:, index("blood")] = 9.0  # unreadable, does not count
    change[3] = np.nan
    correlation = dict.fromkeys(names, 0.9) | {"blood": 0.1}
    found = generator_edits.judged(change, "beard", correlation)
    assert found["sign_right"] == 0.5
    assert found["worst_leak_into"] == "age" and found["worst_leak"] == pytest.approx(0.4)
    assert found["leakage"] == pytest.approx(0.4 / (len(names) - 2), abs=1e-3)
    change[0, index("smile")] = change[:, index("jaw_drop")] = np.nan  # what the mesh reads, without a face
    found = generator_edits.judged(change, "beard", correlation)
    assert found["sign_right"] == 0.5 and found["worst_leak"] == pytest.approx(0.4)
    assert found["leakage"] == pytest.approx(0.4 / (len(names) - 3), abs=1e-3)


@pytest.fixture
def result() -> dict[str, object]:
    """A result of every part."""
    row = {"pictures": 2, "psnr": 26.1, "lpips": 0.13, "psnr_eyes": 23.0, "psnr_mouth": 22.5}
    row |= {"found": 1.0, "same": 0.8}
    gain = {"gain": 0.9, "correlation": 0.95, "seen": 0.4, "pairs": 2, "truth": {"correlation": 0.97}}
    move = {"sign_right": 1.0, "leakage": 0.1, "mean_rise": 1.2, "worst_leak": 0.3}
    move |= {"worst_leak_into": "age", "judge_correlation": 0.9}
    move |= {"truth": dict(move)}
    return {
        **{name: row[name] for name in benchmark.FIGURES},
        "by_yaw": {"+0.0": row},
        "by_label": [{"label": "hair", "area": 0.131, "error": 0.281, "psnr": 17.45}],
        "gain": dict.fromkeys(generator_edits.GAINS, gain),
        "gain_judge": {"name": "MediaPipe"},
        "directions": {"beard": move, "glasses": None},
        "identity": {"same": 0.8, "different": 0.4, "different_true": 0.38},
        **{"picture_s": 0.1, "person_s": 0.4, "people": 2, "seed": 1, "fingerprint": "abc", "seconds": 5},
        "real": [{"clip": "one.mp4", "psnr": 20.5, "identity": 0.41, "seconds": 60.0}],
        "machine": {"date": "2026-01-01", "cores": 2, "cpu": "some", "gpu": "none", "torch": "2"},
    }


def test_figures_have_every_part_and_no_name_of_a_clip(result: dict[str, object], tmp_path: Path) -> None:
    log = tmp_path / "log.json"
    generator = SimpleNamespace(card=SimpleNamespace(reports={"training": {"steps": 9000, "seconds": 7200}}))
    benchmark.log(log, generator, result)
    benchmark.log(log, generator, result | {"psnr": 27.0})
    rows = json.loads(log.read_text())["rows"]
    assert len(rows) == 1 and rows[0]["psnr"] == 27.0 and rows[0]["hours"] == 2.0
    text = "\n".join(page({"generator": result, "generator_checkpoints": {"rows": rows}}))
    for words in (
        "26.1 dB",
        "MediaPipe",
        "| beard | 100 % | 0.100",
        "20.5",
        "| hair | 13.1 % | 28.1 % |",
        "| 9000 | 2.0 | 2 | 27.00",
    ):
        assert words in text
    assert "| hair | 13.1 % | 28.1 % | 17.4" in text
    assert "one.mp4" not in text
    assert "| edit | gain |" not in "\n".join(readme(result))


def test_whole_command_on_the_bundled_generator(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "result.json"
    benchmark.main(["--people", "2", "--only", "fidelity", "speed", "--json", "--out", str(out)])
    found = json.loads(out.read_text())
    assert json.loads(capsys.readouterr().out) == found
    assert set(benchmark.FIELDS) <= set(found) and found["people"] == 2 and found["machine"]["cores"]
    assert found["psnr"] > 3 and found["picture_s"] > 0 and found["gain"] is None


def test_pixels_of_an_image() -> None:
    image = torch.stack([torch.full((4, 4), v) for v in (-1.0, 0.0, 2.0)])
    assert pixels(image)[0, 0].tolist() == [0, 128, 255]


def test_parts_measured_later_join_an_earlier_result(tmp_path: Path, result: dict[str, object]) -> None:
    path = tmp_path / "generator.json"
    path.write_text(json.dumps(result))
    now = {name: result[name] for name in ("people", "seed", "fingerprint")}
    later = dict.fromkeys(result) | now | {"directions": {"beard": None}}
    earlier = benchmark.earlier_result(path, now)
    assert benchmark.joined(earlier, later) == result | {"directions": {"beard": None}}


def test_another_seed_is_refused_before_anything_is_measured(
    tmp_path: Path, result: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "generator.json"
    path.write_text(json.dumps(result | {"fingerprint": load_generator("bundled").card.fingerprint}))
    monkeypatch.setattr(benchmark, "measure", lambda *_: pytest.fail("it measured"))
    with pytest.raises(SystemExit, match="its seed is 1, not 2"):
        benchmark.main(["--people", str(result["people"]), "--seed", "2", "--into", str(path)])
