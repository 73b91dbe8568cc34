"""The figures of docs/encoders.md, from results/encoders.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.markdown import measured_on, number, paragraphs, prose, table

_PLAIN = {
    "psnr_w": "codes, from the front",
    "psnr_refined": "with the second stage",
    "psnr_w_side": "codes, at yaw +-0.5",
    "psnr_refined_side": "with the second stage",
    "psnr_unaligned_side": "... without alignment",
    "frames_per_second": "frames a second, codes",
    "frames_per_second_refined": "both stages and their picture",
}
_FITTED = {
    "psnr_w_of_fitted": "`{}`, codes",
    "psnr_fit_200": "200 steps of `w+` from the mean face",
    "psnr_start_200": "200 steps of `w+` from the encoder's codes",
    "psnr_refined_of_fitted": "`{}`, with the second stage",
}


def encoders(results: Mapping[str, Any]) -> list[str]:
    """The whole section."""
    found = results["encoders"]
    rows, first = found["rows"], found["rows"][0]
    text = (
        f"{found['people']} people that nothing was trained on, threads: {found['threads']} (`python -m "
        f"benchmarks.encoders --people {found['people']} --covered {found['covered']} --fits "
        f"{found['fits']}`). PSNR in dB of pictures of 128 x 128 against true ones; the mean face has "
        f"{number(first['psnr_mean_face'])}, the code that the generator learned for each person "
        f"{number(first['psnr_true_code'])}:"
    )
    table_of = [[row["encoder"], *(number(row.get(name)) for name in _PLAIN)] for row in rows]
    return paragraphs(
        measured_on(dict(results), "encoders"),
        prose(text),
        table(["", *_PLAIN.values()], table_of),
        fits(found),
        behind(found),
    )


def fits(found: Mapping[str, Any]) -> list[str]:
    """Encoders beside fits; only the first encoder's codes are shown, which the others begin at."""
    if not found["fits"]:
        return []
    first, *others = found["rows"]
    text = (
        f"The first {found['fits']} of them beside fits, which take {number(first['seconds_fit_200'])} s of "
        "a core a picture. The side is yaw +-0.5, which neither encoder nor fit has seen:"
    )
    rows = [(first, key) for key in list(_FITTED)[:3]]
    rows += [(row, "psnr_refined_of_fitted") for row in others if row.get("psnr_refined_of_fitted")]
    lines = [
        [_FITTED[key].format(row["encoder"]), number(row[key]), number(row.get(f"{key}_side"))]
        for row, key in rows
    ]
    return [*prose(text), "", *table(["", "from the front", "from the side"], lines)]


def behind(found: Mapping[str, Any]) -> list[str]:
    """Faces behind occluders, by the first encoder: all others have its codes."""
    row = found["rows"][0]
    names, smile = list(row["psnr_behind"]), row.get("smile_behind_mask")
    cells = [
        [who, *(number(row[key][name]) for name in names)]
        for who, key in ((row["encoder"], "psnr_behind"), ("mean face", "psnr_behind_mean"))
    ]
    text = (
        f"The face behind an occluder, in the pixels that it covers, of {found['covered']} people behind "
        f"each. The soft mask has an IoU of {number(row['mask_iou'], 2)} with the true one."
    )
    if smile is not None:
        text += (
            " Of people behind a surgical mask who clearly smile or clearly do not, "
            f"{100 * smile['sign_right']:.0f} % are told so; over all of them told and true smile have a "
            f"correlation of {number(smile['correlation'], 2)}, and the told one is "
            f"{number(smile['gain'], 2)} of the true one."
        )
    return [*prose(text), "", *table(["", *names], cells)]
