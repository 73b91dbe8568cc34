"""Write frames as pictures, with the depth, alpha and profile of those that they were made from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.clip import U8, Clip
from pipeline.errors import OutputError
from pipeline.video.codecs import DEPTHS, WITH_ALPHA
from pipeline.video.pictures import SUFFIXES, Picture, write_picture
from pipeline.video.planes import Layout, Planes, to_layout
from pipeline.video.probe import OnFrame
from pipeline.video.sequences import PictureSource, number_of

_NOTHING: U8 = np.zeros((0, 0, 3), np.uint8)


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
    frames: Iterable[U8 | Planes],
    clip: Clip,
    names: Sequence[str],
    place: Callable[[str], Path],
    form: str,
    comment: str,
    quality: int | None = None,
    indices: Sequence[int] | None = None,
    on_frame: OnFrame | None = None,
) -> None:
    """Write frames (uint8 [H,W,3] RGB or Planes) to `place(name)` in the format `form`.

    Results of pictures keep their colour profile and EXIF. indices: the source frames that these are (None:
    all). Raises ValueError (another number of frames), OutputError (not writable, disk full), UserError
    (size).
    """
    chosen = range(len(clip)) if indices is None else indices
    for done, (name, index, frame) in enumerate(zip(names, chosen, frames, strict=True), 1):
        path, picture = place(name), result_of(clip, index, frame, form)
        _write(path, partial(write_picture, path, picture, comment, quality))
        if on_frame is not None:
            on_frame(done)


def result_of(clip: Clip, index: int, frame: U8 | Planes, form: str) -> Picture:
    """The picture to write for a frame of a clip."""
    source = clip.source.picture(index) if isinstance(clip.source, PictureSource) else Picture(_NOTHING)
    if isinstance(frame, Planes):
        bits = 8 if DEPTHS[form] == 8 or frame.layout.bits == 8 else 16
        alpha = frame.alpha is not None and form in WITH_ALPHA
        planes = to_layout(frame, Layout(bits, alpha=alpha))
        pixels = np.stack(planes.samples, axis=-1)
        return Picture(pixels, planes.alpha, form, source.profile, source.exif, cicp=_cicp(clip))
    return Picture(frame, None, form, source.profile, source.exif if _same_size(frame, source) else None)


def write_layer(path: Path, layer: Planes, clip: Clip, comment: str) -> None:
    """Write a layer, RGB of 16 bits with alpha, as PNG; HDR colours say so. Raises OutputError."""
    picture = Picture(np.stack(layer.samples, axis=-1), layer.alpha, cicp=_cicp(clip))
    _write(path, lambda: write_picture(path, picture, comment))


def write_grey(path: Path, values: U8) -> None:
    """Write uint8 [H,W] as a grey PNG. Raises OutputError."""
    _write(path, lambda: Image.fromarray(values).save(path, format="PNG"))


def _write(path: Path, write: Callable[[], None]) -> None:
    try:
        write()
    except OSError as error:
        raise OutputError(
            f"{path.name}: cannot be written ({error.strerror or error}); free some space or choose another "
            "output folder"
        ) from None


def _cicp(clip: Clip) -> tuple[int, int] | None:
    """Primaries and transfer of high dynamic range, for the pictures that hold its signal."""
    if clip.deep is None or clip.deep.tone is None:
        return None
    return int(clip.color["primaries"]), int(clip.color["transfer"])


def _same_size(frame: U8, source: Picture) -> bool:
    return frame.shape == source.pixels.shape


def is_picture_format(codec: str) -> bool:
    """Whether a codec of the settings is one of single pictures."""
    return codec in SUFFIXES
