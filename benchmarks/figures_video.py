"""The figures of docs/video.md, from results/covering_hand.json."""

from __future__ import annotations

from typing import Any

from benchmarks.markdown import measured_on, number, paragraphs, prose, table


def video(results: dict[str, Any]) -> list[str]:
    """The whole section."""
    return [*measured_on(results, "covering_hand"), "", *covering_hand(results["covering_hand"])]


def covering_hand(found: dict[str, Any]) -> list[str]:
    """A hand for five frames, in finished jobs."""
    rows = []
    for name, clip in found["clips"].items():
        jaw, hand, removal = clip["jaw"], clip["hand in the edit"], clip["removal"]
        flicker = clip["flicker"]["removal"]
        rows.append(
            [
                name,
                f"{number(jaw['mean, %'], 2)}, {number(jaw['most, %'], 2)}",
                f"{hand['p99']:g}, {hand['largest']}, {number(hand['over 2, %'], 2)} %",
                f"{number(removal['dB'], 1)} dB ({number(removal['of the source, dB'], 1)})",
                f"{number(flicker['entering'], 2)}, {number(flicker['leaving'], 2)}",
            ]
        )
    return paragraphs(
        prose(
            "A hand for five frames on three made-up people, `process-video` with "
            f"`{' '.join(found['words'])}` and with the removal (`python -m benchmarks.covering_hand --out "
            "benchmarks/results/covering_hand.json`). Jaw: mean and largest error in % of the face's height. "
            "Hand in the edit: 99th percentile and largest change of its pixels, in levels of 255, and the "
            "share of them that changes by more than 2. Removal: PSNR inside the hidden face, the source's "
            "in brackets. Flicker: change inside the face as the hand comes and goes, over that of the clip "
            "without a hand."
        ),
        table(["clip", "jaw", "hand in the edit", "removal", "flicker"], rows),
    )
