"""Average the rows of a method over clips, and print the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.scoring.score import KEYS

MEASURED = (*KEYS, "seconds", "memory_mb")
_COLUMNS = {
    "psnr_reconstruction": ("recon", 2),
    "ssim_reconstruction": ("ssim", 3),
    "lpips_reconstruction": ("lpips", 3),
    "psnr_true_edit_rendered": ("edit", 2),
    "psnr_true_edit": ("edit, off", 2),
    "psnr_removal": ("removal", 2),
    "psnr_true_view": ("view", 2),
    "mask_iou": ("iou", 2),
    "camera_median_deg": ("camera", 2),
    "edit_sign_share": ("sign", 2),
    "edit_leakage": ("leak", 3),
    "flicker_reconstruction": ("flicker", 2),
    "identity_edit": ("id", 3),
    "seconds": ("s", 0),
    "memory_mb": ("MiB", 0),
}
"""Value -> heading and digits in the printed table."""


def means(rows: Sequence[Mapping[str, Any]], methods: Sequence[str]) -> list[dict[str, Any]]:
    """One row per method: means over the clips that have the value, None where none has."""
    found = []
    for method in methods:
        own = [row for row in rows if row["method"] == method]
        if not own:
            continue
        mean: dict[str, Any] = {"method": method, "preset": own[0]["preset"], "clips": len(own)}
        for name in MEASURED:
            values = [row[name] for row in own if row[name] is not None]
            mean[name] = round(sum(values) / len(values), 5) if values else None
        found.append(mean)
    return found


def as_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table as aligned text; columns without any value are left out."""
    shown = [name for name in _COLUMNS if any(row[name] is not None for row in rows)]
    lines = [["method", *(_COLUMNS[name][0] for name in shown)]]
    for row in rows:
        cells = ["-" if row[n] is None else f"{row[n]:.{_COLUMNS[n][1]}f}" for n in shown]
        lines.append([row["method"], *cells])
    widths = [max(len(line[k]) for line in lines) for k in range(len(lines[0]))]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:]))])
        for line in lines
    )
