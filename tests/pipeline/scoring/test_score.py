"""Scores against a truth made by hand, where the right answer is known."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inverters import metrics
from inverters.people.params import NUM_PARAMETERS, PARAMETERS, index
from pipeline.commands import __main__ as cli
from pipeline.errors import UserError
from pipeline.faces.identity import TEMPLATE
from pipeline.faces.mobilefacenet import MobileFaceNet
from pipeline.samples.truth import load_truth
from pipeline.scoring import edit_metrics
from pipeline.scoring.frame_metrics import psnr_of
from pipeline.scoring.score import KEYS, score
from tests.pipeline.faces.faces_data import landmarks_at
from tests.pipeline.known_sample import (
    AFFINE,
    CROP,
    FRAMES,
    SMILE,
    flat,
    write_known_sample,
    write_result,
    write_video,
)


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    return write_known_sample(tmp_path)


class Judge:
    """Reads a smile from the brightness, a tenth of it as age, and a half as gaze, which it cannot read."""

    correlation = {p.name: 0.1 if p.name == "gaze_x" else 0.9 for p in PARAMETERS}  # noqa: RUF012

    def scores(self, crops: Any) -> Any:
        read = np.zeros((len(crops), NUM_PARAMETERS), np.float32)
        for name, share in (("smile", 1.0), ("age", -0.1), ("gaze_x", 0.5)):
            read[:, index(name)] = share * np.asarray(crops).mean((1, 2, 3))
        return read


def test_figures_of_a_known_result(sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blend = np.zeros((FRAMES, 16, 16), np.float16)
    blend[:, 4:12, 4:8] = 1.0  # the left half of the box, at half the crop's resolution
    images = np.full((FRAMES, CROP, CROP, 3), 120, np.uint8)

    edited = images.copy()
    edited[:3] += 20  # in the last frame nothing moves
    monkeypatch.setattr(edit_metrics, "_judge", Judge)
    result = write_result(
        tmp_path / "out",
        sample,
        {"removal": flat(120, 110), "removal_edited": flat(140, 130)},
        arrays={
            "finetune/blend": blend,
            "edit/removal/images": images,
            "edit/removal_edited/images": edited,
        },
        edits=[SMILE],
    )
    found = score(result, sample)
    assert tuple(found) == KEYS
    assert found["psnr_reconstruction"] == 31.5
    assert found["mask_iou"] == pytest.approx(0.5, abs=0.06)  # bilinear, so half a pixel of edge
    assert found["psnr_removal"] == pytest.approx(10 * math.log10(255**2 / 100), abs=1.0)
    assert found["psnr_removal_of_input"] == pytest.approx(10 * math.log10(255**2 / 6400), abs=0.2)
    assert found["psnr_true_edit"] == pytest.approx(10 * math.log10(255**2 / (100 * 256 / 1024)), abs=1.0)
    assert found["camera_median_deg"] == pytest.approx(1.5, abs=1e-3)
    assert found["camera_p95_deg"] == pytest.approx(4.55, abs=1e-2)
    assert found["edit_sign_share"] == 0.75
    others = NUM_PARAMETERS - 2  # neither the smile nor what cannot be read
    assert found["edit_leakage"] == pytest.approx(0.75 * 20 * 0.1 / others, abs=1e-6)
    assert found["edit_leakage_of_truth"] == pytest.approx(20 * 0.1 / others, rel=0.05)


def test_what_a_result_has_not_is_null(
    sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = write_result(tmp_path / "out", sample, {"edited": flat(140, 40)}, edits=[{**SMILE, "stop": 0.1}])
    assert cli.main(["score", str(result), "--truth", str(sample), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert tuple(found) == KEYS
    present = {"psnr_reconstruction", "ssim_reconstruction", "camera_median_deg", "camera_p95_deg"}
    assert {name for name, value in found.items() if value is not None} == present


def test_edit_behind_the_occluder(sample: Path, tmp_path: Path) -> None:
    """Without a removal, the edited frames are held against the true edit behind the occluder."""
    result = write_result(tmp_path / "out", sample, {"edited": flat(140, 40)}, edits=[SMILE])
    found = score(result, sample)
    assert found["psnr_true_edit"] > 45
    assert found["psnr_true_edit_occluded"] == found["psnr_true_edit"]
    assert found["psnr_true_edit_rendered"] is None  # no crops are kept of this result
    other = write_result(
        tmp_path / "other", sample, {"edited": flat(140, 40)}, edits=[{**SMILE, "strength": 1.0}]
    )
    assert score(other, sample)["psnr_true_edit"] is None


def test_the_edit_is_measured_with_and_without_the_occluder_and_the_source(
    sample: Path, tmp_path: Path
) -> None:
    outputs = {"edited": flat(140, 50), "removal_edited": flat(140, 130)}
    rendered = np.full((FRAMES, CROP, CROP, 3), 130, np.uint8)  # the truth: 140, and 40 where the box is
    result = write_result(
        tmp_path / "out", sample, outputs, arrays={"edit/edited/images": rendered}, edits=[SMILE]
    )
    found = score(result, sample)
    share = 256 / 1024  # of the box in the crop
    levels = {"psnr_true_edit": 100 * share, "psnr_true_edit_occluded": 100 * share}
    levels["psnr_true_edit_rendered"] = 100 * (1 - share) + 8100 * share
    for name, error in levels.items():
        assert found[name] == pytest.approx(10 * math.log10(255**2 / error), abs=1.0), name


def noise(seed: int, n: int = FRAMES, low: int = 0, high: int = 256) -> np.ndarray:
    return np.random.default_rng(seed).integers(low, high, (n, CROP, CROP, 3), dtype=np.uint8)


def test_reconstruction_is_compared_with_the_crops(
    sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crops = noise(0)
    near = (crops * 0.9 + noise(1) * 0.1).astype(np.uint8)
    monkeypatch.setattr(metrics, "lpips", lambda a, b, net: (a - b).abs().mean((1, 2, 3)) * len(net))
    for name, images in (("same", crops), ("near", near)):
        arrays = {"align/crops": crops, "finetune/reconstruction": images}
        write_result(tmp_path / name, sample, {}, arrays=arrays)
    same, found = (score(tmp_path / n, sample) for n in ("same", "near"))
    assert same["ms_ssim_reconstruction"] == pytest.approx(1.0) and same["lpips_reconstruction"] == 0
    assert same["flicker_reconstruction"] == 100 and same["flicker_lpips_reconstruction"] == 0
    a, b = (torch.from_numpy(x).permute(0, 3, 1, 2) / 127.5 - 1 for x in (near, crops))
    assert found["ssim_reconstruction"] == 0.9  # as the job measured it
    assert found["ms_ssim_reconstruction"] == pytest.approx(metrics.ms_ssim(a, b).mean().item(), abs=1e-6)
    assert found["lpips_reconstruction"] == pytest.approx(4 * (a - b).abs().mean().item(), rel=1e-4)
    other = score(tmp_path / "near", sample, lpips_net="squeeze")
    assert other["lpips_reconstruction"] == pytest.approx(7 / 4 * found["lpips_reconstruction"])
    assert found["flicker_reconstruction"] == pytest.approx(
        metrics.temporal_psnr(a, b).mean().item(), abs=1e-3
    )


def test_flicker_counts_neighbouring_frames_only(sample: Path, tmp_path: Path) -> None:
    """One crop is brighter by 51 levels: it comes and goes, unless the frames beside it have no crop."""
    crops = noise(2, high=200)
    bright = crops.copy()
    bright[2] += 51
    for name, frames in (("all", [0, 1, 2, 3]), ("gap", [0, 1, 3, 5]), ("none", [0, 2, 4, 6])):
        arrays = {
            "align/crops": crops,
            "finetune/reconstruction": bright,
            "align/frames": np.array(frames),
            "align/affine": np.tile(AFFINE, (8, 1, 1)),
        }
        write_result(tmp_path / name, sample, {}, arrays=arrays)
    found = {n: score(tmp_path / n, sample)["flicker_reconstruction"] for n in ("all", "gap", "none")}
    step = 20 * math.log10(255 / 51)
    assert found["all"] == pytest.approx((100 + 2 * step) / 3, abs=1e-3)
    assert found["gap"] == 100 and found["none"] is None


def test_flicker_of_an_edit_against_the_true_one(sample: Path, tmp_path: Path) -> None:
    """Outside the true crop nothing counts; an edit that is too weak throughout does not flicker."""
    weak = [flat(130) for _ in range(FRAMES)]
    for t, frame in enumerate(weak):
        frame[:, :8] = 60 * (t % 2)
    blinking = [flat(140 + 20 * (t == 1)) for t in range(FRAMES)]
    for name, frames in (("weak", weak), ("blinking", blinking)):
        write_result(tmp_path / name, sample, {"removal_edited": frames}, edits=[SMILE])
    assert score(tmp_path / "weak", sample)["flicker_edit"] > 50
    found = score(tmp_path / "blinking", sample)["flicker_edit"]
    step = 20 * math.log10(255 / 20)
    assert 2 / 3 * step < found < 2 / 3 * step + 100 / 3 + 1


def add_view(sample: Path, yaw: float, **levels: tuple[int, int | None]) -> None:
    """Give a sample a true view, each of its videos flat."""
    folder = sample.with_suffix(".truth")
    for name, (level, box) in levels.items():
        write_video(folder / f"view0_{name}.mp4", flat(level, box))
    truth = json.loads((folder / "truth.json").read_text())
    edit = {"strength": 1.5, "clean": "view0_smile.mp4", "occluded": "view0_smile_occluded.mp4"}
    view = {"yaw": yaw, "pitch": 0.0, "clean": "view0_clean.mp4", "occluded": "view0_occluded.mp4"}
    truth["views"] = [{**view, "edits": {"smile": edit}}]
    (folder / "truth.json").write_text(json.dumps(truth))


@pytest.mark.parametrize(
    ("edits", "remove", "level", "box"),
    [([], True, 100, None), ([], False, 100, 30), ([SMILE], True, 160, None), ([SMILE], False, 160, 30)],
)
def test_a_view_is_compared_with_the_true_one(
    edits: list, remove: bool, level: int, box: int | None, sample: Path, tmp_path: Path
) -> None:
    """With and without the mask and the smile; a crop that is framed a little wider lies where it belongs."""
    add_view(sample, 0.3, clean=(100, None), occluded=(100, 30), smile=(160, None), smile_occluded=(160, 30))
    wide = np.array([[0.5, 0.0, 0.0], [0.0, 0.5, 0.0]])  # the frame's left upper 64 pixels, half as large
    rendered = np.pad(flat(level, box), ((0, 16), (0, 0), (0, 0)), mode="edge")[::2, ::2]
    arrays = {
        "edit/view/images": np.tile(rendered, (FRAMES, 1, 1, 1)),
        "align/affine": np.tile(wide, (FRAMES, 1, 1)),
    }
    asked = {"edits": edits, "remove_occluder": remove, "arrays": arrays}
    view = {"yaw": 0.3, "pitch": 0.0, "orbit": False}
    result = write_result(tmp_path / "out", sample, {}, view=view, **asked)
    found = score(result, sample)
    assert found["psnr_true_view"] > 22  # the box's edges are half as sharp
    if box is None:
        assert found["psnr_true_view"] > 45 and found["psnr_true_view_of_input"] < 20
    for other in ({**view, "yaw": 0.2}, {**view, "orbit": True}, None):
        result = write_result(tmp_path / "other", sample, {}, view=other, **asked)
        assert score(result, sample)["psnr_true_view"] is None
    weaker = {**asked, "edits": [{**SMILE, "strength": 1.0}]}
    result = write_result(tmp_path / "weak", sample, {}, view=view, **weaker)
    assert score(result, sample)["psnr_true_view"] is None


def faces_of(crops: np.ndarray, grey: int = 120) -> list[np.ndarray]:
    """Frames with these crops in the true crop."""
    frames = [flat(grey) for _ in crops]
    for frame, crop in zip(frames, crops):
        frame[8:40, 16:48] = crop
    return frames


def test_identity_by_a_network_of_the_users(
    sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is the same has 1; an edit into another person, and back, shows in both."""
    torch.manual_seed(0)
    network = MobileFaceNet()
    network.conv3.bias.data.zero_()  # untrained, it would outweigh all that comes from the picture
    torch.save(network.state_dict(), tmp_path / "net.pt")
    one, two = noise(3, 2)
    five = (TEMPLATE - 56) / 4 + (32, 24)  # a face of a quarter of the template's size, in the crop's middle
    crops = np.stack([one, one, one, two])
    arrays = {
        "track/landmarks": np.tile(landmarks_at(five), (FRAMES, 1, 1)).astype(np.float32),
        "track/status": np.array([2, 2, 2, 1], np.uint8),  # the last is interpolated, and does not count
        "align/crops": crops,
        "finetune/reconstruction": crops,
    }
    write_video(sample, faces_of(crops))
    kept = write_result(tmp_path / "kept", sample, {"edited": faces_of(crops)}, arrays=arrays)
    found = score(kept, sample, tmp_path / "net.pt")
    for name in ("identity_reconstruction", "tl_id", "tg_id"):
        assert found[name] == pytest.approx(1.0, abs=2e-3), name
    assert found["identity_edit"] is None
    arrays["edit/edited/images"] = changed = np.stack([one, two, one, two])
    lost = write_result(
        tmp_path / "lost", sample, {"edited": faces_of(changed)}, arrays=arrays, edits=[SMILE]
    )
    words = ["score", str(lost), "--truth", str(sample), "--identity"]
    assert cli.main([*words, str(tmp_path / "net.pt"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["identity_reconstruction"] == pytest.approx(1.0)
    assert found["identity_edit"] < 0.999
    assert found["tl_id"] < found["tg_id"] < 0.999  # of three pairs, the two neighbouring ones differ
    for wrong, known in (([str(sample)], "MobileFaceNet.*ArcFace"), (["x.pt", "--lpips", "x"], "squeeze")):
        assert cli.main([*words, *wrong]) == 2
        assert re.search(f"^[^\n]*{known}[^\n]*\n$", capsys.readouterr().err)


@given(st.floats(0.01, 255.0), st.integers(1, 10**6))
@settings(max_examples=50)
def test_psnr_of_an_even_error(step: float, count: int) -> None:
    assert psnr_of(step**2 * count, count) == pytest.approx(min(100, 20 * math.log10(255 / step)), abs=1e-6)


def test_psnr_of_nothing_and_of_equals() -> None:
    assert psnr_of(0.0, 0) is None
    assert psnr_of(0.0, 10) == 100.0


@pytest.mark.parametrize("name", ["../clip.mp4", "/etc/hostname", "", ".", 7, "mask/../../clip.mp4"])
def test_truth_never_leaves_its_folder(name: Any, sample: Path) -> None:
    path = sample.with_suffix(".truth") / "truth.json"
    found = json.loads(path.read_text())
    path.write_text(json.dumps({**found, "clean": name}))
    with pytest.raises(UserError, match="leads out"):
        load_truth(sample)
    view = {"yaw": 0.3, "pitch": 0.0, "clean": name, "occluded": None, "edits": {}}
    path.write_text(json.dumps({**found, "views": [view]}))
    with pytest.raises(UserError, match="leads out"):
        load_truth(sample)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", "null", '{"format": "invid-sample-truth", "version": 1}', '{"format": 3, "version": 9}'],
)
def test_broken_truth_is_one_clear_line(text: str, sample: Path) -> None:
    (sample.with_suffix(".truth") / "truth.json").write_text(text)
    with pytest.raises(UserError, match=r"truth\.json") as caught:
        load_truth(sample)
    assert "\n" not in str(caught.value)


def test_things_that_do_not_belong_together(sample: Path, tmp_path: Path) -> None:
    result = write_result(tmp_path / "out", sample, {})
    manifest = json.loads((result / "manifest.json").read_text())
    (result / "manifest.json").write_text(json.dumps({**manifest, "frames": {"total": 99}}))
    with pytest.raises(UserError, match="99 frames"):
        score(result, sample)
    per_frame = manifest["per_frame"] | {"repeats": [0, 0, *range(2, FRAMES)]}
    repeats = {**manifest, "per_frame": per_frame}
    (result / "manifest.json").write_text(json.dumps(repeats))
    with pytest.raises(UserError, match="frames that repeat"):
        score(result, sample)
    with pytest.raises(UserError, match="invid sample"):
        score(result, tmp_path / "nothing.mp4")
    with pytest.raises(UserError, match=r"manifest\.json"):
        score(tmp_path, sample)


def test_three_ways_to_name_a_sample(sample: Path) -> None:
    folder = sample.with_suffix(".truth")
    assert load_truth(sample).clean == load_truth(folder).clean == load_truth(folder / "truth.json").clean
