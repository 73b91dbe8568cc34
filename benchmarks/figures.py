"""Write README's section of figures from what the other benchmarks measured.

    python -m benchmarks.figures

Reads benchmarks/results/{mask,generator,cameras,memory}.json. What stands between the two marks in README.md
is replaced; nothing there is typed by hand but the words between the numbers.
"""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- figures: python -m benchmarks.figures -->", "<!-- end of figures -->"


def number(value: float | None, digits: int = 1, unit: str = "") -> str:
    """`value` rounded, with its unit; a dash for None."""
    return "-" if value is None else f"{value:.{digits}f}{unit}"


def share(value: float | None) -> str:
    """A share as a percentage."""
    return "-" if value is None else f"{100 * value:.3g} %"


def prose(text: str) -> list[str]:
    """A paragraph in lines of README's width."""
    return textwrap.wrap(text, 126, break_long_words=False, break_on_hyphens=False)


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    """Markdown."""
    return ["| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows]]


def main_job(found: dict[str, Any]) -> list[str]:
    """The mask sample, In-N-Out beside W+."""
    methods = [found["in-n-out"], found["w+"]]
    scores = [m["score"] for m in methods]
    of_input = number(scores[0]["psnr_removal_of_input"], 1, " dB")

    def row(text: str, *values: str) -> list[str]:
        return [text, *values]

    rows = [
        row(
            "crop PSNR of the reconstruction",
            *(number(m["reconstruction"]["psnr"], 1, " dB") for m in methods),
        ),
        row("mask found (blend above one half), IoU", *(number(s["mask_iou"], 2) for s in scores)),
        row(
            "PSNR inside the mask against the true unmasked frames, mask taken off "
            f"(the input has {of_input})",
            *(number(s["psnr_removal"], 1, " dB") for s in scores),
        ),
        row(
            "frames in which the judge sees `smile=1.5` move the smile up",
            *(share(s["edit_sign_share"]) for s in scores),
        ),
        row(
            "PSNR of the crop inside the mask, before and after the edit",
            *(f"{m['psnr_hidden']}, {m['psnr_hidden_edited']} dB" for m in methods),
        ),
        row(
            "camera rotation error, median / 95th percentile",
            *(f"{number(s['camera_median_deg'])} / {number(s['camera_p95_deg'])} degrees" for s in scores),
        ),
        row(
            "PSNR of the edited crop against the true edited frames (*)",
            number(scores[0]["psnr_true_edit"], 1, " dB, mask taken off"),
            number(scores[1]["psnr_true_edit"], 1, " dB, behind the mask"),
        ),
        row("seconds of the whole command", *(number(m["seconds"], 0) for m in methods)),
    ]
    again = found["second run"]["seconds"]
    return [
        *prose(
            f"On `{found['video']}`, one run of each method in the preset `draft` "
            f"(`python -m benchmarks.main_job {found['video']} --out benchmarks/results/mask.json`):"
        ),
        "",
        *table(["", "In-N-Out", "W+"], rows),
        "",
        *prose(
            f"The same job with another `--edit` took {number(again, 0)} s, "
            f"{share(found['second_run_share'])} of the first. W+ keeps the cameras that the landmarks gave. "
            "(*) In-N-Out is asked to take the mask off as well: the two are compared with different truths."
        ),
    ]


def cameras(found: dict[str, Any]) -> list[str]:
    """Cameras from landmarks alone."""
    error, settings = found["rotation_error_deg"], found["settings"]
    words = " ".join(f"--{name} {settings[name]}" for name in ("frames", "fps", "size"))
    return prose(
        f"On {settings['clips']} other procedural clips, cameras from landmarks alone are off by "
        f"{number(error['median'])} degrees (median) and {number(error['p95'])} (95th percentile): "
        f"`python -m benchmarks.cameras {words}`."
    )


def memory(found: dict[str, Any]) -> list[str]:
    """Peak memory of a long clip."""
    peak = max(value for stage, value in found["peak"].items() if stage != "invert")
    return prose(
        f"Memory: {found['frames']} frames of 1080p ({found['clip']['seconds']:.0f} s) through every stage, "
        "with a small stand-in generator, peak at "
        f"{number(peak)} GB outside the inversion, {number(found['peak']['invert'])} GB in it "
        f"(`python -m benchmarks.memory {found['sample']} --fps {found['clip']['fps']:g}`)."
    )


def generator(found: dict[str, Any]) -> list[str]:
    """Fidelity and directions on held-out heads."""
    heads = [
        [
            name.replace("yaw ", ""),
            str(row["pictures"]),
            number(row["psnr"], 1, " dB"),
            number(row["lpips_alex"], 3),
            share(row["face_found"]),
        ]
        for name, row in found["fidelity"].items()
    ]
    moves = [
        [
            name,
            share(row["sign_right"]),
            number(row["mean_rise"], 2),
            number(row["mean_leak"], 2),
            number(row["judge_correlation"], 2),
        ]
        for name, row in found["directions"].items()
    ]
    return [
        *prose(
            f"The generator on heads it never saw (`python -m benchmarks.generator --heads {found['heads']} "
            f"--edit-heads {found['edit_heads']} --card`, with AlexNet's features for LPIPS; the same "
            "stands in its card):"
        ),
        "",
        *table(["yaw", "pictures", "PSNR", "LPIPS (alex)", "MediaPipe finds a face"], heads),
        "",
        *prose(
            f"Directions moved from -0.75 to +0.75 standard deviations on {found['edit_heads']} heads, read "
            "by a judge that never saw the generator; it is weak where its correlation with the truth is low:"
        ),
        "",
        *table(
            [
                "direction",
                "sign right",
                "mean rise",
                "mean change of the other parameters",
                "judge's correlation",
            ],
            moves,
        ),
    ]


def main() -> None:
    """Read, and rewrite README.md."""
    results = {
        path.stem: json.loads(path.read_text()) for path in (ROOT / "benchmarks/results").glob("*.json")
    }
    dates = sorted({found["machine"]["date"] for found in results.values()})
    machine = results["mask"]["machine"]
    lines = [
        *prose(
            f"Measured on {' and '.join(dates)} on {machine['cores']} cores of a virtual machine "
            f"({machine['cpu']}), GPU: {machine['gpu']}; torch {machine['torch']}."
        ),
        "",
        *main_job(results["mask"]),
        "",
        *cameras(results["cameras"]),
        "",
        *memory(results["memory"]),
        "",
        *generator(results["generator"]),
    ]
    path = ROOT / "README.md"
    text = path.read_text()
    start, end = text.index(BEGIN) + len(BEGIN), text.index(END)
    path.write_text(text[:start] + "\n" + "\n".join(lines) + "\n" + text[end:])


if __name__ == "__main__":
    main()
