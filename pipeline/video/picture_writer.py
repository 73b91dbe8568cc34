"""Write frames as pictures, with the depth, alpha and profile of those that they were made from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from pipeline.clip import U8, Clip
from pipeline.errors import OutputError
from pipeline.video.pictures import SUFFIXES, Picture, write_picture
from pipeline.video.probe import OnFrame
from pipeline.video.sequences import PictureSource, number_of


def picture_names(clip: Clip, stem: str, suffix: str, indices: Sequence[int] | None = None) -> list[str]:
    """Names of the results of these frames (None: all): `edited.png`, or `edited.1001.png` in a sequence.

    Numbers are those in the names of the source's pictures; frames of a film count from 0.
    """
    if len(clip) == 1:
        return [f"{stem}{suffix}"]
    numbers = [number_of(file) for file in clip.pictures]
    if "" in numbers or len(set(numbers)) != len(clip):
        numbers = [f"{index:05d}" for index in range(len(clip))]
    return [
        f"{stem}.{numbers[index]}{suffix}" for index in (range(len(clip)) if indices is None else indices)
    ]


def write_pictures(
    frames: Iterable[U8],
    clip: Clip,
    names: Sequence[str],
    place: Callable[[str], Path],
    form: str,
    comment: str,
    quality: int | None = None,
    indices: Sequence[int] | None = None,
    on_frame: OnFrame | None = None,
) -> None:
    """Write frames (uint8 [H,W,3] RGB) to `place(name)` in the format `form`.

    Where a frame has the size of the source's picture, its change is added to that: untouched pixels keep
    their 16 bits, and alpha stays. indices: the source frames that these are (None: all). Raises ValueError
    (another number of frames), OutputError (not writable, disk full), UserError (size).
    """
    chosen = range(len(clip)) if indices is None else indices
    for done, (name, index, frame) in enumerate(zip(names, chosen, frames, strict=True), 1):
        try:
            write_picture(place(name), result_of(clip, index, frame, form), comment, quality)
        except OSError as error:
            raise OutputError(
                f"{name}: cannot be written ({error.strerror or error}); free some space or choose another "
                "output folder"
            ) from None
        if on_frame is not None:
            on_frame(done)


def result_of(clip: Clip, index: int, frame: U8, form: str) -> Picture:
    """The picture to write for a frame of a clip."""
    if not isinstance(clip.source, PictureSource):
        return Picture(frame, format=form)
    source = clip.source.picture(index)
    if frame.shape != source.pixels.shape:
        return Picture(frame, format=form, profile=source.profile)
    if source.pixels.dtype == np.uint8:
        return Picture(frame, source.alpha, form, source.profile, source.exif)
    change = 257 * (frame.astype(np.int32) - source.rgb8)
    deep = np.clip(source.pixels.astype(np.int32) + change, 0, 65535).astype(np.uint16)
    return Picture(deep, source.alpha, form, source.profile, source.exif)


def is_picture_format(codec: str) -> bool:
    """Whether a codec of the settings is one of single pictures."""
    return codec in SUFFIXES
