"""Clips that are pictures: one file, a folder of them, or names with a number such as `shot.####.png`."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.clip import I64, U8, Clip, FrameSource
from pipeline.errors import InputVideoError
from pipeline.video.pictures import Picture, format_of, is_picture, opened, read_picture
from pipeline.video.planes import Layout, Planes, to_layout
from storage import canonical_json, file_hash

DEFAULT_RATE = Fraction(25)
_MOST = 200_000
"""Pictures of one sequence."""
_NUMBER = re.compile(r"#+|%0?(\d*)d")
_ENDINGS = {".png", ".tif", ".tiff", ".jpg", ".jpeg", ".webp", ".avif", ".heic", ".heif"}


def picture_files(path: Path) -> list[Path] | None:
    """The files of a picture or a sequence in order; None where `path` is neither.

    Raises InputVideoError: a folder or a pattern without pictures.
    """
    if path.is_dir():
        return _of_folder(path)
    if path.is_file():
        return [path] if is_picture(path) and not _is_film(path) else None
    return _of_pattern(path) if path.suffix.lower() in _ENDINGS and _NUMBER.search(path.name) else None


def _is_film(path: Path) -> bool:
    """Whether a picture file has several frames that FFmpeg reads: animated PNG, AVIF, motion JPEG."""
    if path.suffix.lower() in (".mjpeg", ".mjpg"):
        return True
    with opened(path) as image:
        return image.format in ("PNG", "AVIF") and getattr(image, "n_frames", 1) > 1


def _of_folder(path: Path) -> list[Path]:
    files = [p for p in path.iterdir() if p.suffix.lower() in _ENDINGS and not p.name.startswith(".")]
    if not files:
        raise InputVideoError(
            f"{path}: is a folder without pictures; give a video, or a folder of one sequence"
        )
    kinds = sorted({p.suffix.lower() for p in files})
    if len(kinds) > 1:
        raise InputVideoError(
            f"{path}: holds pictures of several kinds ({', '.join(kinds)}); give one sequence"
        )
    return _checked(path, sorted(files, key=lambda p: [int(t) if t.isdigit() else t for t in _parts(p.stem)]))


def _parts(name: str) -> list[str]:
    return re.split(r"([0-9]+)", name)


def _of_pattern(path: Path) -> list[Path]:
    found = list(_NUMBER.finditer(path.name))
    if len(found) > 1:
        raise InputVideoError(f"{path}: has several numbers; give one run of #, as in shot.####.png")
    mark = found[0]
    digits = len(mark[0]) if mark[0].startswith("#") else int(mark[1] or 1)
    head, tail = re.escape(path.name[: mark.start()]), re.escape(path.name[mark.end() :])
    rule = re.compile(f"{head}([0-9]{{{max(1, min(digits, 18))},18}}){tail}")
    if not path.parent.is_dir():
        raise InputVideoError(f"{path.parent}: there is no such folder; check the name")
    numbered = [(int(m[1]), p) for p in path.parent.iterdir() if (m := rule.fullmatch(p.name))]
    if not numbered:
        raise InputVideoError(f"{path}: there is no file of this name with a number; check the name")
    return _checked(path, [p for _, p in sorted(numbered)])


def _checked(path: Path, files: list[Path]) -> list[Path]:
    for file in files:
        if not file.is_file():
            raise InputVideoError(f"{file}: is not a regular file; take it out of the sequence")
    if len(files) > _MOST:
        raise InputVideoError(f"{path}: has {len(files)} pictures; {_MOST} is the most")
    return files


def number_of(file: Path) -> str:
    """The last number in a picture's name, as its digits; an empty text where it has none."""
    found = re.findall(r"[0-9]{1,18}", file.stem)
    return found[-1] if found else ""


def input_hash(path: Path) -> str:
    """Hash of an input's content: SHA-256 of a file's bytes; of names and bytes of a sequence."""
    files = picture_files(path) if not path.is_file() else None
    if files is None:
        return file_hash(path)
    listed = canonical_json([[file.name, file_hash(file)] for file in files])
    return hashlib.sha256(listed.encode()).hexdigest()


class PictureSource:
    """Frames of picture files of one size; layout: what those of `planes` are, that of the first picture."""

    tone = None

    def __init__(self, files: Sequence[Path], size: tuple[int, int], layout: Layout | None = None) -> None:
        self._files, self._size, self.layout = files, size, layout

    def __len__(self) -> int:
        return len(self._files)

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[U8]:
        """Yield frames [start, stop) as uint8 [H,W,3] RGB, upright and on black. Raises InputVideoError."""
        for index in range(start, len(self) if stop is None else min(stop, len(self))):
            found = self.picture(index)
            if found.alpha is None:
                yield found.rgb8
            else:
                yield np.stack(to_layout(_planes_of(found), Layout(8)).samples, axis=-1).astype(np.uint8)

    def planes(self, start: int = 0, stop: int | None = None) -> Iterator[Planes]:
        """Yield the same frames with their depth and alpha. Raises ValueError where 8 bits hold them."""
        if self.layout is None:
            raise ValueError("these pictures have 8 bits a channel and no alpha")
        for index in range(start, len(self) if stop is None else min(stop, len(self))):
            yield to_layout(_planes_of(self.picture(index)), self.layout)

    def picture(self, index: int) -> Picture:
        """A frame with all that its file holds."""
        file = self._files[index]
        found = read_picture(file)
        height, width = found.pixels.shape[:2]
        if (width, height) != self._size:
            first = f"{self._size[0]}x{self._size[1]}"
            raise InputVideoError(
                f"{file}: is {width}x{height}, and the first picture {first}; a sequence has one size"
            )
        return found


def _planes_of(picture: Picture) -> Planes:
    bits = 8 if picture.pixels.dtype == np.uint8 else 16
    red, green, blue = (np.ascontiguousarray(picture.pixels[..., part]) for part in range(3))
    return Planes((red, green, blue), Layout(bits, alpha=picture.alpha is not None), picture.alpha)


class AnimationSource:
    """Frames of an animated WebP, which FFmpeg does not read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with opened(path) as image:
            self._count = int(getattr(image, "n_frames", 1))

    def __len__(self) -> int:
        return self._count

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[U8]:
        """Yield frames [start, stop) as uint8 [H,W,3] RGB, on black."""
        for image in self._images(range(start, self._count if stop is None else min(stop, self._count))):
            pixels = np.asarray(image.convert("RGBA"), np.uint16)  # on black
            yield ((pixels[..., :3] * pixels[..., 3:] + 127) // 255).astype(np.uint8)

    def durations(self) -> list[int]:
        """Milliseconds of each frame."""
        return [max(1, int(image.info.get("duration", 100))) for image in self._images(range(self._count))]

    def _images(self, indices: range) -> Iterator[Image.Image]:
        with opened(self._path) as image:
            for index in indices:
                try:
                    image.seek(index)
                    image.load()
                except (OSError, EOFError, ValueError) as error:
                    raise InputVideoError(
                        f"{self._path}: frame {index} is damaged ({error}); copy or download it again"
                    ) from None
                yield image


def picture_clip(path: Path, files: list[Path], rate: Fraction | None, max_frames: int | None) -> Clip:
    """The Clip of a picture, a sequence or an animated WebP. Raises InputVideoError.

    A sequence has the numbers in its names for times, in frames of `rate`: where a number is missing, the
    picture before it stays.
    """
    if len(files) == 1 and _is_animation(files[0]):
        return _animation(path, files[0], max_frames)
    whole = max_frames is None or max_frames >= len(files)
    shown = files[:max_frames]
    first = read_picture(shown[0])
    height, width = first.pixels.shape[:2]
    rate_, notes = rate or DEFAULT_RATE, list(first.notes)
    numbers = [int(number_of(file) or index) for index, file in enumerate(shown)]
    if (np.diff(numbers) <= 0).any():
        numbers = list(range(len(shown)))
    missing = numbers[-1] - numbers[0] + 1 - len(numbers)
    if missing:
        notes.append(f"{missing} pictures of the sequence are missing; the one before each stays")
    if len(files) > 1 and rate is None:
        notes.append(f"pictures have no times; {DEFAULT_RATE} a second are assumed (--frame-rate)")
    pts = np.array(numbers, np.int64) - numbers[0]
    layout = _planes_of(first).layout
    source = PictureSource(shown, (width, height), layout if layout.bits > 8 or layout.alpha else None)
    return _clip(path, (width, height), pts, 1 / rate_, rate_, 1, source, notes, whole, tuple(shown))


def _is_animation(file: Path) -> bool:
    with opened(file) as image:
        return image.format == "WEBP" and getattr(image, "n_frames", 1) > 1


def _animation(path: Path, file: Path, max_frames: int | None) -> Clip:
    source = AnimationSource(file)
    lengths = source.durations()
    count = min(len(lengths), max_frames or len(lengths))
    starts = np.cumsum([0, *lengths])[:count].astype(np.int64)
    with opened(file) as image:
        size = image.size
    rate = Fraction(1000 * len(lengths), sum(lengths)).limit_denominator(1001)
    whole = count == len(lengths)
    return _clip(path, size, starts, Fraction(1, 1000), rate, lengths[count - 1], source, [], whole, ())


def _clip(
    path: Path,
    size: tuple[int, int],
    pts: I64,
    time_base: Fraction,
    rate: Fraction,
    last: int,
    source: FrameSource,
    notes: list[str],
    whole: bool,
    pictures: tuple[Path, ...],
) -> Clip:
    """last: duration of the last frame in units of `time_base`."""
    return Clip(
        path=path,
        content_hash=input_hash(path),
        width=size[0],
        height=size[1],
        times=pts.astype(np.float64) * float(time_base),
        pts=pts,
        time_base=time_base,
        rate=rate,
        duration=float((int(pts[-1]) + last) * time_base),
        has_audio=False,
        color={"matrix": 0, "range": 2, "primaries": 2, "transfer": 2, "format": "rgb24"},
        source=source,
        deep=source if isinstance(source, PictureSource) and source.layout is not None else None,
        notes=tuple(notes),
        whole=whole,
        film=False,
        pictures=pictures,
    )


def written_format(path: Path) -> str | None:
    """The format in which results of this input are written: that of its pictures; None for a film."""
    files = picture_files(path)
    if not files or (len(files) == 1 and _is_animation(files[0])):
        return None
    return format_of(files[0])
