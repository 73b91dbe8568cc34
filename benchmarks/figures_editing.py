"""The figures of docs/editing.md, from results/directions.json, calm.json and spaces.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.markdown import measured_on, number, paragraphs, prose, table

METHODS = {
    "own": "the card's own",
    "interfacegan, conditional on all others": "InterfaceGAN on true parameters, conditional on all others",
    "interfacegan": "InterfaceGAN on true parameters",
    "interfacegan, labelled by the judge": "InterfaceGAN on the judge's readings of {judged} faces",
    "the parameter itself": "the parameter itself raised in z, and nothing else",
}


def editing(results: dict[str, Any]) -> list[str]:
    """The whole section."""
    found = results["directions"]
    text = (
        f"{len(found['directions'])} parameters of the bundled generator on {found['people']} unseen people, "
        "each direction scaled to the same predicted change of its parameter (`python -m "
        "benchmarks.directions`). The table has the predicted change of all other parameters, divided by "
        "that of the direction's own, averaged over the parameters:"
    )
    rows = [
        [words.format(**found), number(found["mean_leak_ratio"][name], 3)] for name, words in METHODS.items()
    ]
    return paragraphs(
        measured_on(results, "directions", "calm", "spaces"),
        prose(text),
        table(["direction", "others / own"], rows),
        calm(results["calm"]),
        spaces(results["spaces"]),
    )


def calm(found: dict[str, Any]) -> list[str]:
    """Flicker with and without `--smooth` and `--steady`."""
    text = (
        f"`--smooth` and `--steady` on `{found['video']}`, `smile=1.5` with the occluder removed, preset "
        f"`{found['preset']}` (`python -m benchmarks.calm {found['video']}`; a higher `flicker_edit` is less "
        "flicker):"
    )
    names = ("flicker_edit", "psnr_true_edit", "psnr_removal", "psnr_reconstruction")
    rows = [
        [f"`{way}`" if way.startswith("-") else way, *(number(scores[n], 2, " dB") for n in names)]
        for way, scores in found.items()
        if isinstance(scores, dict) and "flicker_edit" in scores
    ]
    heads = ["`flicker_edit`", "true edit", "removal", "reconstruction"]
    return [*prose(text), "", *table(["", *heads], rows)]


SHOWN = (0, 1, 2, 4, 5, 10, 20, 50)
"""Strengths of the table of edits."""


def spaces(found: dict[str, Any]) -> list[str]:
    """Reconstruction in each latent space, and what edits of growing strength leave of a face."""
    text = (
        f"Latent spaces on {found['people']} unseen people, one frontal picture each, {found['steps']} steps "
        f"of {found['rays']} random rays in every space (the paper takes 1,200 with LPIPS), on "
        f"{found['threads']} thread (`python -m benchmarks.spaces`). MSE on [-1,1], LPIPS by AlexNet, the "
        "median time of a step:"
    )
    rows = _space_rows(found["rows"])
    strong = (
        "The face network's cosine between the true picture and one edited along a random direction (one a "
        f"person, a step is a vector of deviation 0.2 a number), by strength; and the PSNR to the true edit "
        f"`{found['parameter']}` where it is raised by 0 and by 4 standard deviations:"
    )
    edits = [
        [
            f"`{row['space']}`",
            *(number(at["identity"], 2) for at in row["by_strength"] if at["strength"] in SHOWN),
            *(
                number(at["psnr_true_edit"], 1, " dB")
                for at in row["by_strength"]
                if at["strength"] in (0, 4)
            ),
        ]
        for row in found["rows"]
    ]
    heads = ["MSE", "SSIM", "MS-SSIM", "LPIPS", "step"]
    truths = ["true edit, 0", "true edit, 4"]
    real = found["real"]
    crops = prose("The same of crops of real photographs (`--crops`):") if real else []
    return paragraphs(
        prose(text),
        table(["space", *heads], rows),
        crops,
        table(["space", *heads], _space_rows(real)) if real else [],
        prose(strong),
        table(["space", *map(str, SHOWN), *truths], edits),
    )


_MEASURES = {"mse": 4, "ssim": 3, "ms_ssim": 3, "lpips": 3}
"""Measures of table 1 of the paper of Z+, and their digits."""


def _space_rows(rows: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Rows of table 1 by space."""
    return [
        [
            f"`{row['space']}`",
            *(number(row[name], digits) for name, digits in _MEASURES.items()),
            number(row["step_ms"], 0, " ms"),
        ]
        for row in rows
    ]
