"""The figures of docs/editing.md, from results/directions.json and results/calm.json."""

from __future__ import annotations

from typing import Any

from benchmarks.markdown import measured_on, number, prose, table

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
    return [
        *measured_on(results, "directions", "calm"),
        "",
        *prose(text),
        "",
        *table(["direction", "others / own"], rows),
        "",
        *calm(results["calm"]),
    ]


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
