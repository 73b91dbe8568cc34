"""Stills of a report: frames sampled over the clip, from the source and from each output."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from pipeline.clip import U8, Clip, Crops
from pipeline.errors import UserError
from pipeline.report.frames_at import FramesAt
from pipeline.report.pictures import LARGEST, Box, Picture, cut, shrunk
from pipeline.report.timeline import frame_times
from pipeline.report.values import finite, listing, mapping
from pipeline.video.aspect import squared, squared_size
from pipeline.video.pictures import is_picture, read_picture

STRIP = 12
"""Frames sampled evenly over the clip; one more is taken inside each edit that has a time range."""

MOST_OUTPUTS = 8
"""Outputs that get stills; a job has eight at most."""

SOURCE_SECONDS = 30.0
"""Time for reading the source's stills: a file that cannot be sought is decoded from its start for each."""

LEADS = ("removal_edited", "edited", "removal", "turned", "view", "crops")
"""The first of these outputs that a job has is shown largest, and in the strip."""

_UNREADABLE = (UserError, av.FFmpegError, OSError, ValueError)
_INNER = (0.2, 0.2, 0.8, 0.85)  # left, top, right, bottom of the face in its crop, in crop widths
_FAR, _AROUND = 0.4, 2.0  # crops smaller than _FAR of the frame are shown close, with _AROUND their width
_COMPARED = 96  # pixels a side at which faces are compared
_THUMB, _POSTER = 264 / LARGEST, 0.6


@dataclass(frozen=True)
class Sample:
    """One sampled frame: its index in the source, its time in seconds, and how far a time may be from it."""

    index: int
    time: float
    tolerance: float
    has_face: bool


@dataclass
class Look:
    """Source and output at one frame. `change` is the mean absolute difference inside the face, 0 to 255.

    whole: the output has the source's frames, not crops of them. apart: the two pictures do not show the same
    part of the frame. closer: they show the surroundings of the face only.
    """

    sample: Sample
    after: Picture
    poster: Picture
    before: Picture | None = None
    change: float = 0.0
    whole: bool = True
    apart: bool = False
    closer: bool = False


@dataclass
class Cell:
    """One frame of the strip, from the source and from the lead output."""

    sample: Sample
    before: Picture | None = None
    after: Picture | None = None
    chosen: bool = False

    @property
    def shown(self) -> bool:
        """Whether the page has a picture of it."""
        return any(picture is not None and picture.uri for picture in (self.before, self.after))


@dataclass
class Stills:
    """Looks and posters by output, the strip, and the name of the lead output ("" without one)."""

    looks: dict[str, Look] = field(default_factory=dict)
    posters: dict[str, Picture] = field(default_factory=dict)
    cells: list[Cell] = field(default_factory=list)
    lead: str = ""

    def pictures(self) -> list[Picture]:
        """Every picture of the page, once; the large ones first."""
        looks = [picture for look in self.looks.values() for picture in (look.before, look.after)]
        cells = [picture for cell in self.cells for picture in (cell.before, cell.after)]
        return [picture for picture in (*looks, *self.posters.values(), *cells) if picture is not None]


def take_stills(
    manifest: Mapping[str, Any], videos: Mapping[str, Sequence[Path]], clip: Clip | None, crops: Crops | None
) -> Stills:
    """Stills of the source and of the outputs at the same sampled frames.

    videos: by name, the file of a film, or those of a sequence of pictures.

    An output is shown at the sampled frame where it differs most from the source inside the face. A file or
    frame that cannot be read has no still.
    """
    samples, total = sampled(manifest), len(frame_times(manifest))
    videos = {key: files for key, files in videos.items() if len(files) in (1, total)}
    source = _Source(clip, crops, samples)
    stills = Stills(cells=[Cell(s, source.thumbs.get(s.index)) for s in samples])
    chosen = samples[len(samples) // 2] if samples else Sample(0, 0.0, 0.5, False)
    shown = sorted((key for key in videos if key != "comparison"), key=_rank)
    for key in shown[:MOST_OUTPUTS]:
        look = _look(videos[key], samples, source, stills.cells if key == shown[0] else [])
        if look is None:
            continue
        if not stills.lead:
            stills.lead, chosen = key, look.sample
            for cell in stills.cells:
                cell.chosen = cell.sample == chosen
        stills.looks[key], stills.posters[key] = look, look.poster
    if "comparison" in videos:
        for _, frame in _frames(videos["comparison"], [chosen]):
            stills.posters["comparison"] = Picture(shrunk(frame, LARGEST))
    return stills


def _look(
    files: Sequence[Path], samples: Sequence[Sample], source: _Source, cells: Sequence[Cell]
) -> Look | None:
    """The look of one output; its frames go into `cells` too. None where no frame of it can be read."""
    best: Look | None = None
    places = {cell.sample.index: cell for cell in cells}
    middle = samples[len(samples) // 2].time if samples else 0.0
    for sample, pixels in _frames(files, samples):
        frame = source.squared(pixels)
        look = source.look(sample, frame)
        if look.whole and sample.index in places:
            thumb = shrunk(frame, round(LARGEST * _THUMB))
            places[sample.index].after = Picture(thumb, _THUMB)
        if best is None or _merit(look, middle) > _merit(best, middle):
            best = look
    return best


def _merit(look: Look, middle: float) -> tuple[bool, float, float]:
    """What makes one frame a better look than another: a face, the change, the middle of the clip."""
    return look.sample.has_face, look.change, -abs(look.sample.time - middle)


def _frames(files: Sequence[Path], samples: Iterable[Sample]) -> Iterator[tuple[Sample, U8]]:
    """The frames of an output at the sampled times; those that are missing or damaged are left out."""
    try:
        if is_picture(files[0]):
            for sample in samples:
                yield sample, read_picture(files[min(sample.index, len(files) - 1)]).rgb8
            return
        with FramesAt(files[0]) as video:
            for sample in samples:
                frame = video.at(sample.time, sample.tolerance)
                if frame is not None:
                    yield sample, frame
    except _UNREADABLE:
        return


def _rank(key: str) -> int:
    return LEADS.index(key) if key in LEADS else len(LEADS)


def _whole(pixels: U8) -> Box:
    return 0.0, 0.0, float(pixels.shape[1]), float(pixels.shape[0])


def _inner(box: Box) -> Box:
    """The face inside the box of its crop."""
    width, height = box[2] - box[0], box[3] - box[1]
    left, top, right, bottom = _INNER
    return box[0] + left * width, box[1] + top * height, box[0] + right * width, box[1] + bottom * height


def _difference(a: U8, b: U8) -> float:
    return float(np.abs(a.astype(np.int16) - b.astype(np.int16)).mean())


def sampled(manifest: Mapping[str, Any]) -> list[Sample]:
    """The frames to take stills of: STRIP over the whole clip, and the middle of every edit's time range."""
    times = frame_times(manifest)
    total = len(times)
    indices = {int((k + 0.5) * total / STRIP) for k in range(STRIP)} if total else set()
    for edit in listing(mapping(mapping(manifest.get("settings")).get("edit")).get("edits"))[:STRIP]:
        start, stop = finite(mapping(edit).get("start")), finite(mapping(edit).get("stop"))
        if total and (start is not None or stop is not None):
            first = times[0] + (start or 0.0)
            last = times[-1] if stop is None else times[0] + stop
            indices.add(min(int(np.searchsorted(times, (first + last) / 2)), total - 1))
    status = listing(mapping(manifest.get("per_frame")).get("status"))
    faces = [bool(finite(value)) for value in status] if len(status) == total else [True] * total
    gaps = np.diff(times, append=2 * times[-1] - times[-2]) if total > 1 else np.ones(total)
    return [Sample(i, times[i], float(gaps[i]) / 2, faces[i]) for i in sorted(indices)]


class _Source:
    """Stills of the source, and how the frames of an output compare with them."""

    def __init__(self, clip: Clip | None, crops: Crops | None, samples: Sequence[Sample]) -> None:
        self.thumbs: dict[int, Picture] = {}
        self._shown: dict[int, Picture] = {}
        self._faces: dict[int, U8] = {}
        self._aligned: dict[int, U8] = {}
        self._crops = crops
        self._aspect = Fraction(1) if clip is None else clip.sample_aspect
        self._coded = None if clip is None else (clip.width, clip.height)
        self._size = None if clip is None else squared_size(clip.width, clip.height, self._aspect)[::-1]
        began = time.monotonic()
        # Indices with their bits reversed: the samples seen first lie evenly over the clip.
        for k in sorted(range(len(samples)), key=lambda k: f"{k:06b}"[::-1]):
            if clip is None or time.monotonic() - began > SOURCE_SECONDS:
                return
            try:
                for frame in clip.frames(samples[k].index, samples[k].index + 1):
                    self._keep(samples[k].index, squared(frame, self._aspect))
            except _UNREADABLE:
                continue

    def squared(self, frame: U8) -> U8:
        """A frame of an output with square pixels: those that have the source's size have its pixels."""
        return squared(frame, self._aspect) if frame.shape[1::-1] == self._coded else frame

    def _keep(self, index: int, frame: U8) -> None:
        self.thumbs[index] = Picture(shrunk(frame, round(LARGEST * _THUMB)), _THUMB)
        self._shown[index] = Picture(self._visible(index, frame)[0])
        self._faces[index] = self._face(index, frame)
        box = self._crop_box(index)
        if box is not None and self._crops is not None:
            size = min(self._crops.size, 512)
            self._aligned[index] = cut(frame, box, (size, size))

    def look(self, sample: Sample, frame: U8) -> Look:
        """An output's frame beside the source's, both as they go into the page."""
        index, poster = sample.index, Picture(shrunk(frame, round(LARGEST * _POSTER)), _POSTER)
        if self._size is None or frame.shape[:2] == self._size:
            shown, closer = self._visible(index, frame)
            before, face = self._shown.get(index), self._faces.get(index)
            change = 0.0 if face is None else _difference(face, self._face(index, frame))
            return Look(sample, Picture(shown), poster, before, change, closer=closer)
        after = Picture(shrunk(frame, LARGEST))
        aligned = self._aligned.get(index) if after.width == after.height else None
        if aligned is None:
            return Look(sample, after, poster, self._shown.get(index), whole=False, apart=True)
        change = _difference(
            *(cut(side, _inner(_whole(side)), (_COMPARED,) * 2) for side in (aligned, frame))
        )
        before = Picture(cut(aligned, _whole(aligned), (after.width, after.height)))
        return Look(sample, after, poster, before, change, whole=False)

    def _crop_box(self, index: int) -> Box | None:
        """The box of (squared) source pixels that the crop of a frame shows; None where it has no crop."""
        if self._crops is None or index >= len(self._crops.affine):
            return None
        affine = np.asarray(self._crops.affine[index], np.float64)
        if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:, :2])) < 1e-12:
            return None
        corners = np.array([[0, 0], [1, 0], [0, 1], [1, 1]]) * self._crops.size - affine[:, 2]
        points = np.linalg.solve(affine[:, :2], corners.T).T
        if self._size is not None and self._coded is not None:
            points *= np.array(self._size[::-1]) / np.array(self._coded)
        (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
        return float(left), float(top), float(right), float(bottom)

    def _face(self, index: int, frame: U8) -> U8:
        box = self._crop_box(index)
        return cut(frame, _whole(frame) if box is None else _inner(box), (_COMPARED, _COMPARED))

    def _visible(self, index: int, frame: U8) -> tuple[U8, bool]:
        """What the page shows of a frame: all of it, or the surroundings of a face that is small in it."""
        box = self._crop_box(index)
        height, width = frame.shape[:2]
        if box is None or box[2] - box[0] > _FAR * min(height, width):
            return shrunk(frame, LARGEST), False
        side = min(_AROUND * (box[2] - box[0]), height, width)
        left = min(max((box[0] + box[2] - side) / 2, 0), width - side)
        top = min(max((box[1] + box[3] - side) / 2, 0), height - side)
        x, y, side = round(left), round(top), int(side)
        return shrunk(frame[y : y + side, x : x + side], LARGEST), True
