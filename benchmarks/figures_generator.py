"""The figures of docs/generator.md and of README's part about the generator, from results/generator.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.figures_people import people
from benchmarks.markdown import measured_on, number, paragraphs, prose, share, table

WANTED: Mapping[str, tuple[str, str]] = {
    "psnr": ("PSNR of unseen people, yaw 0, +-0.3, +-0.5", ">= 26 dB"),
    "lpips": ("LPIPS (alex) of the same", "<= 0.14"),
    "psnr_eyes": ("PSNR of the windows around the eyes", ">= 22 dB"),
    "psnr_mouth": ("PSNR of the window around the mouth", ">= 22 dB"),
    "found": ("MediaPipe finds a face", "100 %"),
    "same": ("face network, generated against true", ">= 0.75"),
    "different": ("face network, different people", "<= 0.42"),
    "picture_s": ("a true picture, 256 x 256, one thread", "<= 0.25 s"),
    "person_s": ("making a person, one thread", "<= 0.5 s"),
}
_FORMATS = {
    **{"psnr": (1, " dB"), "lpips": (3, ""), "psnr_eyes": (2, " dB"), "psnr_mouth": (2, " dB")},
    **{"same": (2, ""), "different": (2, ""), "picture_s": (2, " s"), "person_s": (2, " s")},
}


def _shown(name: str, value: float | None) -> str:
    return share(value) if name == "found" else number(value, *_FORMATS[name])


def _identity(found: Mapping[str, Any]) -> Mapping[str, float | None]:
    return found["identity"] or {"same": None, "different": None}


def summary(found: Mapping[str, Any]) -> list[str]:
    """Each figure beside what was wanted."""
    values = {**found, **_identity(found)}
    rows = [[words, _shown(name, values[name]), wanted] for name, (words, wanted) in WANTED.items()]
    return table(["figure", "measured", "wanted"], rows)


def by_yaw(found: Mapping[str, Any]) -> list[str]:
    """The pictures by the turn of the camera."""
    names = ("psnr", "lpips", "psnr_eyes", "psnr_mouth", "same", "found")
    rows = [
        [yaw, str(row["pictures"]), *(_shown(name, row[name]) for name in names)]
        for yaw, row in found["by_yaw"].items()
    ]
    head = ["yaw", "pictures", "PSNR", "LPIPS", "eyes", "mouth", "identity", "face found"]
    return table(head, rows)


def by_label(found: Mapping[str, Any]) -> list[str]:
    """The error by what the pixels show."""
    parts = sorted(found.get("by_label", ()), key=lambda part: -part["error"])
    if not parts:
        return []
    rows = [
        [p["label"], *(f"{number(100 * p[name], 1)} %" for name in ("area", "error")), number(p["psnr"], 1)]
        for p in parts
    ]
    text = "Where the error lies: what the true pixels show, of all these pictures together."
    return [*prose(text), "", *table(["what", "area", "share of the squared error", "PSNR"], rows)]


def gain(found: Mapping[str, Any]) -> list[str]:
    """The gain of expressions, and who read it."""
    if not found["gain"]:
        return []
    judge = found["gain_judge"]
    pairs = max(row["pairs"] for row in found["gain"].values())
    text = (
        f"Edit gain: the change of blendshapes in the generator's pictures over that in true ones, of the "
        f"same {pairs} people, read by {judge['name']}. Wanted: 0.8 to 1.2, correlation >= 0.9."
    )
    agreement = judge.get("correlation_with_mediapipe")
    if agreement:
        told = ", ".join(f"{name} {number(value, 2)}" for name, value in agreement.items())
        text += f" Its correlation with MediaPipe's blendshapes: {told}."
    text += (
        " The last column is the correlation of true pictures with true ones from a camera 0.1 rad beside: "
        "what is missing there is the reader's."
    )
    rows = [
        [
            name,
            number(row["gain"], 2),
            number(row["correlation"], 2),
            number(row["seen"], 2),
            number(row["truth"]["correlation"], 2),
        ]
        for name, row in found["gain"].items()
    ]
    head = ["edit", "gain", "correlation", "mean true change", "correlation, true with true"]
    return [*prose(text), "", *table(head, rows)]


def directions(found: Mapping[str, Any]) -> list[str]:
    """The card's directions by the judge."""
    rows = [
        [
            name,
            share(row["sign_right"]),
            number(row["leakage"], 3),
            f"{row['worst_leak_into']}, {number(row['worst_leak'], 2)}",
            number(row["mean_rise"], 2),
            number(row["truth"]["leakage"], 3),
            number(row["truth"]["mean_rise"], 2),
            number(row["judge_correlation"], 2),
        ]
        for name, row in (found["directions"] or {}).items()
        if row
    ]
    if not rows:
        return []
    text = (
        "Each parameter edited from -0.75 to +0.75 standard deviations, with the changes that the judge "
        "predicts; leakage over the parameters that it reads (correlation with the truth >= 0.5). `true` is "
        "what it predicts of true pictures of the same change, where all leakage is its own. Wanted: "
        "sign >= 99 %, leakage <= 0.1."
    )
    head = ["direction", "right sign", "leakage", "most into", "mean change"]
    head += ["true leakage", "true change", "judge's correlation"]
    return [*prose(text), "", *table(head, rows)]


def real(found: Mapping[str, Any]) -> list[str]:
    """Codes alone on real clips; their names stay out of the pages."""
    clips = found.get("real")
    if not clips:
        return []
    psnr, identity = ([c[name] for c in clips if c[name] is not None] for name in ("psnr", "identity"))
    text = f"Codes alone (`--inverter w+ --finetune-steps 0 --max-frames 8`) on {len(clips)} real clips: "
    text += f"{_spread(psnr, 1)} dB, wanted 20"
    if identity:
        text += f"; face network, reconstruction against crop: {_spread(identity, 2)}, wanted 0.4"
    return prose(text + ".")


def _spread(values: list[float], digits: int) -> str:
    mean, least, greatest = (number(v, digits) for v in (sum(values) / len(values), min(values), max(values)))
    return f"{mean} ({least} to {greatest})"


def checkpoints(rows: list[Mapping[str, Any]]) -> list[str]:
    """The checkpoints that were measured, in the order of training."""
    if not rows:
        return []
    named = ("smile", "jaw", "blink", "gaze", "brows")
    cells = [
        [
            number(row["steps"], 0),
            number(row["hours"], 1),
            str(row["people"]),
            *(number(row[name], 2) for name in ("psnr", "psnr_eyes", "psnr_mouth")),
            number(row["lpips"], 3),
            number(row["same"], 2),
            *(number((row["gain"] or {}).get(name), 2) for name in named),
        ]
        for row in rows
    ]
    head = ["steps", "hours", "people", "PSNR", "eyes", "mouth", "LPIPS", "identity"]
    return [
        *prose(
            "Checkpoints (`python -m benchmarks.generator --generator FILE --log "
            "benchmarks/results/generator_checkpoints.json`), the last five columns are edit gains:"
        ),
        "",
        *table([*head, *named], cells),
    ]


def generator(found: Mapping[str, Any]) -> list[str]:
    """What README shows."""
    return [
        *prose(
            f"The generator on {found['people']} people that it never saw (`python -m benchmarks.generator "
            f"--people {found['people']} --seed {found['seed']} --json`); the rest is in `docs/generator.md`:"
        ),
        "",
        *summary(found),
    ]


def page(results: Mapping[str, Any]) -> list[str]:
    """What docs/generator.md shows."""
    known = [name for name in ("people", "generator") if name in results]
    parts = [measured_on(dict(results), *known)]
    if "people" in results:
        parts.append(people(results["people"]))
    if "generator" in results:
        parts += _generator(results)
    return paragraphs(*parts)


def _generator(results: Mapping[str, Any]) -> list[list[str]]:
    """The parts of the page that tell of the generator."""
    found = results["generator"]
    return [
        generator(found),
        by_yaw(found),
        by_label(found),
        gain(found),
        directions(found),
        real(found),
        checkpoints(results.get("generator_checkpoints", {"rows": []})["rows"]),
    ]
