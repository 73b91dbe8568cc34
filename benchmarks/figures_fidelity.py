"""The figures of docs/fidelity.md, from results/fidelity.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.markdown import measured_on, number, prose, table
from pipeline.fidelity.methods import BENCH_METHODS

OURS = "in-n-out"
ABLATIONS = ("in-n-out no-entropy", "in-n-out no-latent-reg")
BEGINNINGS = ("in-n-out", "in-n-out no-start", "e4e-mask")
"""The methods that take the occluder off, by where they begin."""
COLUMNS = {
    "psnr_reconstruction": ("reconstruction, dB", 2),
    "ssim_reconstruction": ("SSIM", 3),
    "lpips_reconstruction": ("LPIPS", 3),
    "psnr_true_edit_rendered": ("edit, dB", 2),
    "psnr_true_edit": ("edit, occluder off, dB", 2),
    "psnr_removal": ("occluder off, dB", 2),
    "psnr_true_view": ("from the side, dB", 2),
    "camera_median_deg": ("camera, degrees", 2),
    "edit_sign_share": ("right sign", 2),
    "edit_leakage": ("leakage", 3),
    "identity_edit": ("identity, edited", 3),
    "flicker_reconstruction": ("flicker, dB", 2),
    "seconds": ("s", 0),
    "memory_mb": ("MiB", 0),
}
CLAIMS = (
    "psnr_reconstruction",
    "psnr_true_edit_rendered",
    "psnr_true_edit",
    "psnr_removal",
    "psnr_true_view",
    "identity_edit",
)
BESIDE = ("psnr_reconstruction", "psnr_true_edit", "psnr_removal")


def paired(rows: Sequence[Mapping[str, Any]], one: str, other: str, name: str) -> list[float]:
    """Differences of method `one` to `other`, one for each clip where both have a value."""
    values = {(row["method"], row["clip"]): row[name] for row in rows}
    clips = dict.fromkeys(row["clip"] for row in rows)
    both = [(values.get((one, clip)), values.get((other, clip))) for clip in clips]
    return [a - b for a, b in both if a is not None and b is not None]


def _against(rows: Sequence[Mapping[str, Any]], one: str, other: str) -> list[str]:
    cells = []
    for name in CLAIMS:
        found = paired(rows, one, other, name)
        digits = COLUMNS[name][1]
        mean = sum(found) / len(found) if found else None
        won = sum(d > 0 for d in found)
        cells.append("-" if mean is None else f"{mean:+.{digits}f} ({won} of {len(found)})")
    return cells


def by_occluder(rows: Sequence[Mapping[str, Any]], name: str) -> dict[str, dict[str, float]]:
    """Means of score `name`, by occluder and method, of those that have a value."""
    values: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        if row[name] is not None and row["occluder"] is not None:
            values.setdefault(row["occluder"], {}).setdefault(row["method"], []).append(row[name])
    return {
        occluder: {method: sum(v) / len(v) for method, v in methods.items()}
        for occluder, methods in values.items()
    }


def _occluder_rows(rows: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Rows of In-N-Out beside the best method without a second field, score by score."""
    found = {name: by_occluder(rows, name) for name in (*BESIDE, "mask_iou")}
    lines = []
    for occluder in found[BESIDE[0]]:
        cells = [occluder]
        for name in BESIDE:
            means = found[name].get(occluder, {})
            rivals = {m: v for m, v in means.items() if not m.startswith(OURS)}
            best = max(rivals, key=lambda method: rivals[method], default=None)
            digits = COLUMNS[name][1]
            other = "-" if best is None else f"{rivals[best]:.{digits}f} (`{best}`)"
            cells += [number(means.get(OURS), digits), other]
        lines.append([*cells, number(found["mask_iou"].get(occluder, {}).get(OURS), 2)])
    return lines


def _behind_rows(rows: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Rows of the face behind each occluder by those methods, and the IoU of what they take for it."""
    removal, iou = (by_occluder(rows, name) for name in ("psnr_removal", "mask_iou"))
    return [
        [
            occluder,
            *(number(removal[occluder].get(name), 2) for name in BEGINNINGS),
            *(number(iou.get(occluder, {}).get(name), 2) for name in BEGINNINGS),
        ]
        for occluder in removal
    ]


def _occluders(clips: Sequence[Mapping[str, Any]]) -> list[str]:
    """The tables by occluder."""
    beside = [head for name in BESIDE for head in (COLUMNS[name][0], "best other")]
    return [
        "",
        *prose(
            f"By occluder: `{OURS}`, then the best method without a second field (for this occluder and this "
            "score), and the IoU of the second field's share of the pixels with the true mask."
        ),
        "",
        *table(["occluder", *beside, "IoU"], _occluder_rows(clips)),
        "",
        *prose(
            "What the beginning at an encoder does: occluder off, in dB, and the IoU of what is taken for "
            "the occluder with the true mask."
        ),
        "",
        *table(
            ["occluder", *(f"`{name}`, {unit}" for unit in ("dB", "IoU") for name in BEGINNINGS)],
            _behind_rows(clips),
        ),
    ]


BOUNDED = {name: name.rpartition(" ")[0] for name in (m.name for m in BENCH_METHODS) if name.endswith("z+")}
"""Methods in a bounded latent space, each with the same method in its own."""


def bounded(results: dict[str, Any]) -> list[str]:
    """Methods in Z+ and F/Z+ beside the same in W+, on clips of their own run."""
    found = results.get("fidelity_spaces")
    if found is None:
        return []
    rows, clips = found["rows"], found["clips"]
    names = sorted({row["clip"] for row in clips})
    kept = [row for row in rows if row["method"] in {*BOUNDED, *BOUNDED.values()}]
    body = [[f"`{row['method']}`", *(number(row[name], COLUMNS[name][1]) for name in CLAIMS)] for row in kept]
    there = {row["method"] for row in rows}
    pairs = [(one, other) for one, other in BOUNDED.items() if {one, other} <= there]
    versus = [[f"`{one}` minus `{other}`", *_against(clips, one, other)] for one, other in pairs]
    heads = [COLUMNS[name][0] for name in CLAIMS]
    methods = ",".join(row["method"] for row in kept)
    return [
        "",
        *prose(
            f"Bounded codes on {len(names)} {'clip' if len(names) == 1 else 'clips'} ({', '.join(names)}), "
            f"measured on {found['machine']['date']} (`invid bench fidelity --only-clips --clips DIR "
            f'--methods "{methods}"`). Means over clips, then paired differences:'
        ),
        "",
        *table(["method", *heads], body),
        "",
        *table(["", *heads], versus),
    ]


def fidelity(results: dict[str, Any]) -> list[str]:
    """The whole section."""
    found = results["fidelity"]
    rows, clips = found["rows"], found["clips"]
    sittings = {str(k): sitting for k, sitting in enumerate(found.get("sittings", [found]))}
    notes = {method.name: method.note for method in BENCH_METHODS}
    shown = [name for name in COLUMNS if any(row[name] is not None for row in rows)]
    frames = sorted({row["frames"] for row in clips})
    given = clips[0]
    threads = found["threads"] or found["machine"]["cores"]
    words = (
        f"{len({row['clip'] for row in clips})} clips of {' or '.join(map(str, frames))} frames, preset "
        f"`{rows[0]['preset']}`, {found['jobs']} {'job' if found['jobs'] == 1 else 'jobs'} at a time with "
        f"{threads} {'thread' if threads == 1 else 'threads'} each. Means over clips. LPIPS by "
        f"`{found['lpips']}`; identity by {found['identity'] or 'no network'}. Seconds are those of fitting, "
        "tuning and rendering (stages `invert`, `finetune`, `edit`)."
    )
    counts = {row["method"]: row["clips"] for row in rows}
    fewer = [f"`{m}` on {n}" for m, n in counts.items() if n < max(counts.values())]
    if fewer:
        words += f" Not every method ran on every clip: {', '.join(fewer)}."
    measured = sum(row["memory_mb"] is not None for row in clips)
    if measured < len(clips):
        words += f" Memory was read in {measured} of the {len(clips)} runs."
    inputs = [row["psnr_removal_of_input"] for row in clips if row["method"] == given["method"]]
    inputs = [value for value in inputs if value is not None]
    of_input = sum(inputs) / len(inputs) if inputs else None
    body = [[f"`{row['method']}`", *(number(row[name], COLUMNS[name][1]) for name in shown)] for row in rows]
    others = [row["method"] for row in rows if row["method"] not in (OURS, *ABLATIONS)]
    present = {row["method"] for row in rows}
    versus = [[f"`{OURS}` minus `{other}`", *_against(clips, OURS, other)] for other in others]
    ablated = [[f"`{a}` minus `{OURS}`", *_against(clips, a, OURS)] for a in ABLATIONS if a in present]
    heads = [COLUMNS[name][0] for name in CLAIMS]
    return [
        *measured_on(sittings, *sittings),
        "",
        *prose(words),
        "",
        *table(["method", *(COLUMNS[name][0] for name in shown)], body),
        "",
        *prose(f"The input itself has {number(of_input, 2, ' dB')} inside the occluder."),
        "",
        *[f"- `{row['method']}`: {notes[row['method']]}." for row in rows if row["method"] in notes],
        "",
        *prose(
            "Paired differences: the mean over clips, and the number of clips on which the first method has "
            "the higher value."
        ),
        "",
        *table(["", *heads], versus + ablated),
        *_occluders(clips),
        *bounded(results),
    ]
