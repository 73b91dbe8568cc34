"""Metadata of high dynamic range: mastering display and light levels, and whether tags agree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame

from pipeline.errors import InputVideoError
from pipeline.video.tone_map import HDR, HLG, PQ

_NAMES = {PQ: "PQ", HLG: "HLG"}
_WIDE, _WIDE_MATRICES, _NARROW = 9, (9, 10), (1, 4, 5, 6, 7)
"""BT.2020 primaries and matrices, and those of SDR, ITU-T H.273."""
_MOST_LIGHT = 10_000


def hdr_metadata(frame: VideoFrame) -> dict[str, Any]:
    """What a frame carries: `mastering` and `light`; empty where it has neither.

    `mastering` (SMPTE ST 2086): `primaries`, x and y of red, green, blue and white, and `luminance`, least
    and most cd/m2; None where a part is unknown. `light`: MaxCLL and MaxFALL in cd/m2.
    """
    found: dict[str, Any] = {}
    # FFmpeg's AVMasteringDisplayMetadata: ten fractions (primaries, white, least and most light), two flags
    mastering = _side_data(frame, Type.MASTERING_DISPLAY_METADATA)
    if mastering is not None:
        numbers = np.frombuffer(bytes(mastering), np.int32)[:22]
        top, bottom = numbers[0:20:2].astype(np.float64), np.maximum(numbers[1:20:2], 1)
        values = (top / bottom).tolist()
        found["mastering"] = {
            "primaries": values[:8] if numbers[20] else None,
            "luminance": values[8:] if numbers[21] else None,
        }
    light = _side_data(frame, Type.CONTENT_LIGHT_LEVEL)
    if light is not None:
        found["light"] = np.frombuffer(bytes(light), np.uint32)[:2].tolist()
    return found


def _side_data(frame: VideoFrame, kind: Type) -> Any:
    try:
        found: Any = frame.side_data
    except ValueError:  # PyAV reads none of a frame's side data where it does not know one kind of it
        return None
    return found.get(kind)


def check_hdr(path: Path, color: dict[str, Any], transfers: set[int]) -> None:
    """Raise InputVideoError where tags or metadata of HDR contradict each other.

    transfers: those of all frames.
    """
    for fault in (_of_tags(color, transfers), _of_light(color)):
        if fault:
            raise InputVideoError(
                f"{path}: its HDR metadata contradict each other: {fault}; write the right ones with FFmpeg "
                "(-c copy -bsf:v hevc_metadata=...), or convert the clip"
            )


def _of_tags(color: dict[str, Any], transfers: set[int]) -> str:
    transfer, primaries, matrix = (int(color[name]) for name in ("transfer", "primaries", "matrix"))
    if len(transfers) > 1 and transfers & set(HDR):
        listed = " and ".join(_NAMES.get(one, f"transfer {one}") for one in sorted(transfers))
        return f"its frames are {listed}"
    if transfer not in HDR:
        return ""
    if primaries == _WIDE and matrix in _NARROW:
        return f"{_NAMES[transfer]} with primaries of BT.2020 and the colour matrix {matrix} of SDR"
    if primaries in _NARROW and matrix in _WIDE_MATRICES:
        return f"{_NAMES[transfer]} with the colour matrix of BT.2020 and the primaries {primaries} of SDR"
    return ""


def _of_light(color: dict[str, Any]) -> str:
    most, mean = color.get("light", (0, 0))
    if most and mean > most:
        return f"MaxFALL is {mean} cd/m2, more than MaxCLL of {most}"
    if most > _MOST_LIGHT:
        return f"MaxCLL is {most} cd/m2, more than PQ can have"
    mastering = color.get("mastering") or {}
    least, peak = mastering.get("luminance") or (0.0, 1.0)
    if not 0 <= least < peak <= _MOST_LIGHT:
        return f"a mastering display from {least:g} to {peak:g} cd/m2"
    primaries = mastering.get("primaries") or []
    if any(not 0 <= value <= 1 for value in primaries):
        return "colours of the mastering display that no light has"
    return ""


def x265_words(color: dict[str, Any]) -> list[str]:
    """The metadata as parameters of x265; of x264 too, whose names `x264_words` has."""
    words = []
    if (display := _display(color)) is not None:
        words.append(f"master-display={display}")
    if "light" in color:
        words.append("max-cll={},{}".format(*color["light"]))
    return words


def x264_words(color: dict[str, Any]) -> list[str]:
    """The metadata as parameters of x264."""
    words = []
    if (display := _display(color)) is not None:
        words.append(f"mastering-display={display}")
    if "light" in color:
        words.append("cll={},{}".format(*color["light"]))
    return words


def _display(color: dict[str, Any]) -> str | None:
    """Mastering display in units of 0.00002 and 0.0001 cd/m2; None where a part is unknown."""
    mastering = color.get("mastering") or {}
    primaries, luminance = mastering.get("primaries"), mastering.get("luminance")
    if primaries is None or luminance is None:
        return None
    red, green, blue, white = (
        f"({round(50000 * primaries[at])},{round(50000 * primaries[at + 1])})" for at in (0, 2, 4, 6)
    )
    least, most = (round(10000 * value) for value in luminance)
    return f"G{green}B{blue}R{red}WP{white}L({most},{least})"
