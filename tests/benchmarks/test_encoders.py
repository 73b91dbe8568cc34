"""The benchmark of encoders: people behind occluders, pictures as clips, and its page of figures."""

from __future__ import annotations

import pytest
import torch

from benchmarks import encoders as benchmark
from benchmarks.encoders import SIDES, Fits, People, Second, fit_figures, problem, refined
from benchmarks.encoders_behind import covered, smiles
from benchmarks.figures_encoders import encoders
from inverters.generators.load import load_generator
from inverters.people.params import sample_scores, to_z


def test_pictures_become_the_frames_of_a_clip() -> None:
    images = torch.stack([torch.full((3, 128, 128), v) for v in (-1.0, 0.0, 1.0)])
    found = problem(images)
    assert found.crops[:, 0, 0, 0].tolist() == [0, 128, 255] and len(found.cam2world) == 3


def test_people_whom_an_occluder_hardly_covers_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = sample_scores(2, torch.Generator().manual_seed(0))
    found = list(covered(scores, "mask", 0))
    assert len(found) == 2
    for one in found:
        assert one.cover.mean() > 0.01
        outside = one.cover[0] == 0
        assert (one.image - one.clean)[:, outside].abs().median() < 1e-3
    least = float(min(one.cover.mean() for one in found))
    monkeypatch.setattr("benchmarks.encoders_behind._LEAST", least)
    assert len(list(covered(scores, "mask", 0))) == 1


def test_an_encoder_without_a_second_stage_has_no_refined_pictures() -> None:
    images = torch.zeros(2, 3, 128, 128)
    assert refined("e4e-mask", "", load_generator("bundled"), images) is None


def test_fits_are_seen_from_both_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    """A code that is right is no further from the truth from the side, and a second stage has its own row."""
    generator = load_generator("bundled")
    scores = sample_scores(2, torch.Generator().manual_seed(0))
    ws = generator.mapping(to_z(scores, generator.config.z_dim))
    seen = {
        yaw: torch.stack([benchmark.rendered(generator, w[None], yaw, benchmark.SIZE) for w in ws])
        for yaw in (0.0, *SIDES)
    }
    true = People(scores, seen[0.0], {yaw: seen[yaw] for yaw in SIDES}).first(1)
    mean = generator.backbone.mapping.w_avg.expand(1, generator.num_ws, -1)
    monkeypatch.setattr(benchmark, "fitted", lambda g, image, start=None: mean if start is None else start.ws)
    black = Second({yaw: torch.full_like(images, -1.0) for yaw, images in seen.items()}, 1.0)
    found = fit_figures(generator, "e4e-mask", Fits.of(generator, true), ws, black)
    for end in ("", "_side"):
        right, flat, dark = (
            found[f"psnr_{name}{end}"] for name in ("w_of_fitted", "fit_200", "refined_of_fitted")
        )
        assert right is not None and flat is not None and dark is not None
        assert right == found[f"psnr_start_200{end}"] > 60 and dark < flat < 25
    assert "psnr_refined_of_fitted" not in fit_figures(generator, "w", Fits.of(generator, true), ws, None)


def test_smiles_of_true_codes_are_read_and_half_of_them_is_half_the_gain() -> None:
    generator = load_generator("bundled")
    scores = sample_scores(200, torch.Generator().manual_seed(1))
    mean = generator.backbone.mapping.w_avg
    ws = generator.mapping(to_z(scores, generator.config.z_dim))
    whole, half = smiles(generator, ws, scores), smiles(generator, mean + (ws - mean) / 2, scores)
    against = smiles(generator, mean - (ws - mean), scores)
    assert whole is not None and half is not None and against is not None
    assert whole["correlation"] > 0.95 and whole["sign_right"] > 0.97
    assert whole["gain"] == pytest.approx(1.0, abs=0.05) and half["gain"] == pytest.approx(
        whole["gain"] / 2, abs=0.01
    )
    assert against["sign_right"] == pytest.approx(1 - whole["sign_right"], abs=0.002)
    assert smiles(generator, ws[:2], scores[:2]) is None


def test_page_tells_every_row_and_what_is_missing() -> None:
    row = {"encoder": "e4e-mask", "psnr_w": 21.6, "psnr_w_side": 21.3, "frames_per_second": 231.0}
    row |= dict.fromkeys(("psnr_refined", "psnr_refined_side", "frames_per_second_refined"))
    row |= {"psnr_mean_face": 13.4, "psnr_true_code": 23.0, "mask_iou": 0.87}
    row |= {"smile_behind_mask": {"correlation": 0.26, "gain": 0.2, "sign_right": 0.74}}
    row |= {"psnr_behind": {"mask": 19.9}, "psnr_behind_mean": {"mask": 18.1}}
    row |= {"psnr_w_of_fitted": 21.0, "psnr_fit_200": 22.5, "psnr_start_200": 23.5, "seconds_fit_200": 12.0}
    row |= {"psnr_w_of_fitted_side": 20.0, "psnr_fit_200_side": 18.5, "psnr_start_200_side": 19.5}
    other = row | {"encoder": "e3dge", "psnr_refined": 25.7, "psnr_refined_side": 22.5}
    other |= {"psnr_refined_of_fitted": 26.1, "psnr_refined_of_fitted_side": 20.1}
    other |= {"psnr_unaligned_side": 20.9}
    machine = {"date": "2026-01-01", "cores": 2, "cpu": "some", "gpu": "none", "torch": "2"}
    found = {"people": 5, "covered": 4, "fits": 3, "threads": 1, "rows": [row, other], "machine": machine}
    text = "\n".join(encoders({"encoders": found}))
    assert "| e4e-mask | 21.6 | - | 21.3 | - | - | 231.0 | - |" in text
    assert "| e3dge | 21.6 | 25.7 | 21.3 | 22.5 | 20.9 |" in text
    assert "74 % are told so" in text
    few = [row | {"smile_behind_mask": None}]
    assert "surgical" not in "\n".join(encoders({"encoders": found | {"rows": few}}))
    assert "| mean face | 18.1 |" in text and "| `e4e-mask`, codes | 21.0 | 20.0 |" in text
    assert "mean face | 22.5 | 18.5 |" in text and "| `e3dge`, with the second stage | 26.1 | 20.1 |" in text
    assert "beside fits" not in "\n".join(encoders({"encoders": found | {"fits": 0}}))
