"""The figures of people themselves in docs/generator.md, from results/people.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.markdown import number, prose, share, table

_SHOWN = {
    "smile": ("smile", "mouthSmile"),
    "mouth open": ("jaw", "jawOpen"),
    "blink": ("blink", "eyeBlink"),
    "gaze to the right": ("gaze to the right", "eyeLookOutLeft"),
    "gaze to the left": ("gaze to the left", "eyeLookOutRight"),
    "brows up": ("brows up", "browInnerUp"),
    "brows down": ("brows down", "browDown"),
    "pucker": ("pucker", "mouthPucker"),
}
"""Expressions, their names here, and the blendshape that tells each."""


def people(found: Mapping[str, Any]) -> list[str]:
    """How other networks see true pictures of people, and what a picture costs."""
    alike, speed = found["identity"], found["speed"]
    rows = [
        ["face found by MediaPipe, least of yaw 0, +-0.3, +-0.5", share(min(found["found"].values()))],
        [
            "face network, different people: mean / 95 %",
            f"{number(alike['different_mean'], 2)} / {number(alike['different_95'], 2)}",
        ],
        *(
            [
                f"face network, the same person at yaw 0 and +-{turn}: mean / least",
                f"{number(alike[f'same_{turn}_mean'], 2)} / {number(alike[f'same_{turn}_least'], 2)}",
            ]
            for turn in ("0.3", "0.5")
        ),
        ["seconds of one core: a person / a picture", f"{speed['person_s']:.2f} / {speed['picture_s']:.3f}"],
    ]
    return [
        *prose(
            f"{found['people']} true people of 256 x 256, four samples a pixel (`python -m benchmarks.people "
            f"--people {found['people']} --json` with a face network and MediaPipe's face landmarker):"
        ),
        "",
        *table(["", ""], rows),
        "",
        *prose(
            f"What {found['expressions_judge']} reads of a named expression at its strongest, as a change "
            "from rest, beside the true face action:"
        ),
        "",
        *table(["expression", "true", "read"], [_row(found["expressions"], name) for name in _SHOWN]),
    ]


def _row(expressions: Mapping[str, Any], name: str) -> list[str]:
    label, action = _SHOWN[name]
    levels = expressions[name]["levels"]
    strongest = levels[max(levels, key=lambda value: abs(float(value)))]
    both = [change for shape, change in strongest.items() if shape.startswith(action)]
    true, read = (sum(c[kind] for c in both) / max(1, len(both)) for kind in ("true", "read"))
    return [label, number(true, 2), number(read, 2)]
