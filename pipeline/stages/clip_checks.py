"""Checks of a request against the clip, once its frames are counted and before any work is done on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipeline.clip import I64, Clip
from pipeline.errors import InputVideoError, UserError
from pipeline.request.edits import check_times, edit_notes
from pipeline.request.face_settings import all_edits
from pipeline.request.occluder_masks import FACES, mask_notes, match_masks
from pipeline.request.settings import Settings
from pipeline.video.codecs import WITH_ALPHA, check_depth, holds_alpha
from pipeline.video.pictures import SIDES as PICTURE_SIDES
from pipeline.video.sequences import number_of

SIDES = {
    "auto": (1, 16384),
    "h264": (1, 16384),
    "hevc": (16, 65535),
    "prores": (1, 65535),
    "ffv1": (2, 65535),
    "vp9": (1, 65535),
    **PICTURE_SIDES,
}
"""Least and most pixels of a side that an encoder takes, tried with FFmpeg 8.1: H.264 and HEVC at 256 rows,
ProRes, FFV1 and VP9 at 16. HEVC also refuses frames of 4218 x 16."""
_MATRICES = {
    3: "reserved",
    8: "YCgCo",
    10: "BT.2020 constant luminance",
    11: "YDzDx",
    12: "chromaticity-derived",
    13: "chromaticity-derived constant luminance",
    14: "ICtCp",
    15: "IPT-C2",
}
"""Colour matrices of ITU-T H.273 that FFmpeg's scaler does not turn into RGB."""
_NO_RGB = ("yaf32le", "yaf32be")
"""Pixel formats on which that scaler crashes; it says of others by itself that it does not take them."""
UNKEYED = (
    "edit.edits",
    "track.face",
    "edit.ease",
    "invert.occluder_masks",
    "composite.face_masks",
    "encode.codec",
)
"""Settings that are read here."""


def check_clip(clip: Clip, settings: Settings) -> None:
    """Raise UserError for what the clip does not allow.

    That is an edit outside of the clip or between two frames, masks that do not match, frames that the codec
    does not take, bits that it does not hold, and colours that cannot be read.
    """
    check_times(all_edits(settings), clip.times - clip.times[0], clip.duration, settings.edit.ease)
    masks = settings.invert.occluder_masks
    if masks is not None:
        match_masks(Path(masks), np.zeros(0, np.int64), len(clip), clip.width, clip.height)
    by_hand = settings.composite.face_masks
    if by_hand is not None:
        face_mask_files(clip, by_hand, np.arange(len(clip)))  # one for each, as --layers writes them
    codec = settings.encode.codec
    least, most = SIDES[codec]
    if not least <= min(clip.width, clip.height) <= max(clip.width, clip.height) <= most:
        raise UserError(
            f"--codec {codec} takes frames with sides of {least} to {most} pixels, and the clip has "
            f"{clip.width} x {clip.height}; give another, such as --codec ffv1 or png"
        )
    if clip.deep is not None:
        check_depth(codec, clip.deep.layout.bits)
    matrix, pixels = int(clip.color.get("matrix", 2)), str(clip.color.get("format", ""))
    if pixels in _NO_RGB:
        raise InputVideoError(f"{clip.path}: its pixel format {pixels} cannot be turned into RGB")
    if matrix in _MATRICES and pixels.startswith(("yuv", "nv", "p0", "p2", "p4")):
        raise InputVideoError(
            f"{clip.path}: its colour matrix {matrix} ({_MATRICES[matrix]}) cannot be turned into RGB; "
            "convert the clip to BT.709 first"
        )


def face_mask_files(clip: Clip, folder: str, frames: I64) -> list[Path]:
    """The face masks (`composite.face_masks`) of some frames of a clip. Raises UserError."""
    numbers = [number_of(file) for file in clip.pictures]
    own = [int(number) for number in numbers] if all(numbers) else []
    return match_masks(Path(folder), frames, len(clip), clip.width, clip.height, FACES, own)


def clip_notes(clip: Clip, settings: Settings) -> list[str]:
    """What a user should know before the fit; reads all masks.

    That is of edits and masks that change nothing, or everything, and of alpha that the codec does not hold.
    """
    masks, codec = settings.invert.occluder_masks, settings.encode.codec
    found = [*edit_notes(all_edits(settings)), *(mask_notes(Path(masks)) if masks is not None else [])]
    if clip.deep is not None and clip.deep.layout.alpha:
        bits = clip.deep.layout.bits
        if not holds_alpha(codec, bits):
            kept = ", ".join(name for name in WITH_ALPHA if holds_alpha(name, bits))
            beyond = " beyond 8 bits" if codec in WITH_ALPHA else ""
            found.append(
                f"{codec} holds no alpha{beyond}, so the results are on black; --codec {kept} keep it"
            )
    return found
