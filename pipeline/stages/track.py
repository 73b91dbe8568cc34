"""Stage `track`: follow one person's face through the clip."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from pipeline.clip import F32, F64, I64, U8, Clip, Cover, FaceTrack, Reason, Status
from pipeline.errors import NoFaceError
from pipeline.faces.covers import (
    LEAST,
    WINDOW,
    cover_affine,
    find_covers,
    frames_after,
    no_cover,
    taken_from_neighbours,
)
from pipeline.faces.cuts import (
    jump_cuts,
    lasting,
    may_be_cut,
    picture_change,
    picture_cuts,
    shots,
    thumbnail,
)
from pipeline.faces.detectors import load_landmark_model
from pipeline.faces.following import Follower
from pipeline.faces.landmark_indices import IBUG_POINTS
from pipeline.faces.landmark_model import FaceDetection, LandmarkModel, box_of, no_mesh
from pipeline.faces.people import Embedder
from pipeline.faces.smoothing import fill_gaps, smooth
from pipeline.faces.upright import UprightModel
from pipeline.request.settings import Settings, TrackSettings
from pipeline.stages import decode
from pipeline.stages.run import StageRun
from pipeline.stages.stage import Stage
from pipeline.video.aspect import squared, squared_size
from pipeline.video.warp import warp_crop

OnFrame = Callable[[int, int], None]
"""Called as on_frame(frames done, frames in all)."""

LEAST_FACE = 24.0
"""Smallest face in pixels, across or down, that is fitted."""
_REACH = 0.03
"""Sizes of the face beyond which a correction by smoothing is a movement, and not jitter."""
_BLOCK = 12
"""Frames held at a time while a face is sought backwards."""
_HIDDEN = 0.6
"""Share of a face that a cover hides from which on it is not edited where other people pass."""
_NOTHING_LEFT = 0.9
"""Share from which on a face that was not found is not made up from the frames beside it."""
_ENLARGED, _MOST_ENLARGED = 3, 1280 * 720
"""Where no face is found: the factor by which frames are enlarged, and the most pixels of such a frame."""
_EXPECTED = 0.15
"""Sizes of the face within which it must lie of where it is expected after something has passed before it."""
_MISSES = 3
"""Frames without the face after which it is sought no farther back."""


@dataclass
class _Seen:
    """What was found in the frames that repeat no other, in order [N]."""

    frames: list[int] = field(default_factory=list)
    faces: list[FaceDetection | None] = field(default_factory=list)
    reasons: list[Reason] = field(default_factory=list)
    changes: list[float] = field(default_factory=list)
    thumbs: list[F32] = field(default_factory=list)
    windows: list[U8] = field(default_factory=list)
    """The face where it was found, small (`covers.cover_affine`); a blank one elsewhere."""
    repeats: list[int] = field(default_factory=list)
    """By frame of the clip [T], the one whose pixels it repeats."""

    @property
    def found(self) -> npt.NDArray[np.bool_]:
        """Whether each has the face."""
        return np.array([face is not None for face in self.faces], bool)


def track(
    clip: Clip,
    settings: TrackSettings,
    on_frame: OnFrame | None = None,
    model: LandmarkModel | None = None,
    embedder: Embedder | None = None,
) -> FaceTrack:
    """Follow the person whose face is the N-th largest through the clip.

    A frame whose decoded pixels equal those of the one before is looked at once. Gaps of up to
    `settings.max_gap` seconds are interpolated, longer ones stay without a face; then the landmarks are
    smoothed. Neither crosses a cut. `model` and `embedder` take the place of those that the settings name.
    Returns landmarks in source pixels.
    Raises NoFaceError where no frame has the face asked for, UserError for a network that cannot be read.
    """
    from pipeline.faces.face_networks import load_face_network

    rank = settings.face[0].number if settings.face else 0
    own = load_landmark_model(settings.detector) if model is None else model
    knows = load_face_network(settings.face_network) if embedder is None else embedder
    follower = Follower(UprightModel(own), knows, rank, settings.max_gap)
    try:
        seen = _looked_at(clip, follower, on_frame)
        _sought_back(clip, follower, seen)
        if not seen.found.any():
            raise NoFaceError(_no_face_message(clip, follower))
        return _tracked(clip, settings, seen, follower)
    finally:
        if model is None:
            own.close()


def _looked_at(clip: Clip, follower: Follower, on_frame: OnFrame | None) -> _Seen:
    """One pass over the frames of the clip."""
    seen, count = _Seen(), len(clip)
    before: U8 | None = None
    thumb: F32 | None = None
    for t, frame in enumerate(clip.frames()):
        if before is not None and np.array_equal(frame, before):
            seen.repeats.append(seen.repeats[-1])
        else:
            square, last = squared(frame, clip.sample_aspect), thumb
            thumb = thumbnail(square)
            seen.changes.append(0.0 if last is None else picture_change(last, thumb))
            face, reason = follower.step(square, float(clip.times[t]), may_be_cut(last, thumb))
            seen.thumbs.append(thumb)
            seen.frames.append(t)
            seen.faces.append(face)
            seen.reasons.append(reason)
            seen.windows.append(_window(square, None if face is None else face.landmarks68))
            seen.repeats.append(t)
        before = frame
        if on_frame is not None:
            on_frame(t + 1, count)
    return seen


def _window(square: U8, landmarks: F32 | None) -> U8:
    if landmarks is None:
        return np.zeros((WINDOW, WINDOW, 3), np.uint8)
    return warp_crop(square, cover_affine(landmarks), WINDOW)


def _sought_back(clip: Clip, follower: Follower, seen: _Seen) -> None:
    """Look for the face again, backwards from where it was found late, while it is there."""
    cuts, found = picture_cuts(np.array(seen.changes)), seen.found
    for place in np.flatnonzero(found[1:] & ~found[:-1]) + 1:
        misses, at = 0, int(place)
        while at > 0 and misses < _MISSES and not cuts[at] and seen.faces[at - 1] is None:
            first = max(0, at - _BLOCK)
            numbers = seen.frames[first:at]
            wanted, frames = set(numbers), {}
            for t, frame in enumerate(clip.frames(numbers[0], numbers[-1] + 1), numbers[0]):
                if t in wanted:
                    frames[t] = frame
            while at > first and misses < _MISSES and not cuts[at] and seen.faces[at - 1] is None:
                at -= 1
                square = squared(frames[seen.frames[at]], clip.sample_aspect)
                later = next(k for k in range(at + 1, len(seen.faces)) if seen.faces[k] is not None)
                away = float(clip.times[seen.frames[later]] - clip.times[seen.frames[at]])
                known = seen.faces[later]
                face = None if known is None else follower.back(square, known, away)
                misses = misses + 1 if face is None else 0
                if face is not None:
                    seen.faces[at], seen.reasons[at] = face, Reason.EDITED
                    seen.windows[at] = _window(square, face.landmarks68)


def _tracked(clip: Clip, settings: TrackSettings, seen: _Seen, follower: Follower) -> FaceTrack:
    """The track of all frames, smoothed, from what was seen in those that repeat no other."""
    found, times = seen.found, clip.times[seen.frames]
    reason = np.array(seen.reasons, np.uint8)
    landmarks, dense = _points(seen)
    size = size_of(landmarks)
    centers = landmarks.mean(axis=1)
    cuts = picture_cuts(np.array(seen.changes)) | jump_cuts(centers, size)
    shot = shots(lasting(cuts, seen.thumbs, centers, size, times))
    small = found & (size < LEAST_FACE)
    if found.any() and not (found & ~small).any():
        raise NoFaceError(_too_small(clip, float(np.nanmax(size))))
    found, reason[small] = found & ~small, Reason.TOO_SMALL
    landmarks, made = fill_gaps(landmarks, found, times, settings.max_gap, shot)
    dense, _ = fill_gaps(dense, found, times, settings.max_gap, shot)
    cover = _cover(clip, seen, landmarks, found, made, shot)
    hidden = cover.places[made[cover.places] & (cover.shares > _NOTHING_LEFT)]
    if follower.rivals:  # other people, who may pass in front
        behind = cover.places[cover.shares > _HIDDEN]
        reason[behind] = Reason.COVERED
        hidden = np.union1d(hidden, behind)
    found[hidden] = made[hidden] = False
    cover = cover.chosen(~np.isin(cover.places, hidden))
    there = found | made
    landmarks[~there] = dense[~there] = np.nan
    run = _runs(there, shot)
    doubted = _seen_again(clip, follower.model, seen, (landmarks, dense), cover, run)
    for points in (landmarks, dense):
        _mend(points, landmarks, doubted, times, run, settings)
    status = np.full(len(found), Status.NO_FACE, dtype=np.uint8)
    status[found], status[made] = Status.FOUND, Status.INTERPOLATED
    reason[there] = Reason.EDITED
    square = squared_size(clip.width, clip.height, clip.sample_aspect)
    scale = np.array([clip.width, clip.height], np.float64) / np.array(square, np.float64)
    repeats = np.array(seen.repeats, np.int64)
    rows = np.searchsorted(seen.frames, repeats)
    return FaceTrack(
        (landmarks * scale).astype(np.float32)[rows],
        (dense * scale).astype(np.float32)[rows],
        status[rows],
        follower.model.name,
        repeats,
        shot[rows],
        reason[rows],
        replace(
            cover,
            places=np.array(seen.frames, np.int64)[cover.places],
            affines=cover.affines * [1 / scale[0], 1 / scale[1], 1.0],
        ),
    )


def _points(seen: _Seen) -> tuple[F64, F64]:
    """Landmarks [N,68,2] and mesh [N,478,2] of what was seen; NaN without a face."""
    landmarks = np.full((len(seen.faces), IBUG_POINTS, 2), np.nan, np.float64)
    dense = np.repeat(no_mesh()[None].astype(np.float64), len(seen.faces), axis=0)
    for n, face in enumerate(seen.faces):
        if face is not None:
            landmarks[n], dense[n] = face.landmarks68, face.dense
    return landmarks, dense


def _runs(there: npt.NDArray[np.bool_], shot: I64) -> I64:
    """By frame [N], a number that changes at every gap of the face and at every cut."""
    return np.cumsum(~there) + len(there) * shot


def _seen_again(
    clip: Clip, model: UprightModel, seen: _Seen, points: tuple[F64, F64], cover: Cover, run: I64
) -> I64:
    """Look for the face in the frames after a cover from where it is expected, and set its points there.

    points: the landmarks [N,68,2] and the mesh [N,478,2]. Returns the frames whose landmarks remain doubted.
    """
    landmarks, dense = points
    covered = cover.places[cover.shares >= LEAST]
    there = np.flatnonzero(~np.isnan(landmarks).any(axis=(1, 2)))
    after = there[frames_after(np.searchsorted(there, covered), run[there])]
    doubted = np.union1d(covered, after)
    times = clip.times[seen.frames]
    places = np.searchsorted(there, doubted)
    near = [taken_from_neighbours(one[there], places, times[there], run[there]) for one in points]
    for n in after:
        expected, mesh = (one[np.searchsorted(there, n)].astype(np.float32) for one in near)
        frame = next(iter(clip.frames(seen.frames[n], seen.frames[n] + 1)))
        hint = expected if np.isnan(mesh).any() else mesh
        for face in model.detect(squared(frame, clip.sample_aspect), hint):
            off = np.linalg.norm(face.landmarks68 - expected, axis=-1).mean()
            if off <= _EXPECTED * size_of(expected[None].astype(np.float64))[0]:
                landmarks[n], dense[n] = face.landmarks68, face.dense
                doubted = doubted[doubted != n]
    return doubted


def _mend(points: F64, landmarks: F64, doubted: I64, times: F64, run: I64, settings: TrackSettings) -> None:
    """Take doubted points of [N,P,2] from the frames before and after, then smooth them, in place."""
    there = ~np.isnan(points).any(axis=(1, 2))
    if not there.any():
        return
    places = np.searchsorted(np.flatnonzero(there), doubted)
    own = taken_from_neighbours(points[there], places, times[there], run[there])
    reach = _REACH * size_of(landmarks[there])
    points[there] = smooth(
        own, times[there], run[there], settings.smoothing, settings.smoothing_window, reach
    )


def size_of(landmarks: F64) -> F64:
    """Size in pixels of faces with landmarks [N,68,2]: the longer side of their boxes."""
    size: F64 = np.max(np.ptp(landmarks, axis=1), axis=1)
    return size


def _cover(
    clip: Clip,
    seen: _Seen,
    landmarks: F64,
    found: npt.NDArray[np.bool_],
    made: npt.NDArray[np.bool_],
    shot: I64,
) -> Cover:
    """What lies before the face in frames that show it; those with interpolated landmarks are read again."""
    for n in np.flatnonzero(made):
        frame = next(iter(clip.frames(seen.frames[n], seen.frames[n] + 1)))
        seen.windows[n] = _window(squared(frame, clip.sample_aspect), landmarks[n].astype(np.float32))
    at = np.flatnonzero(found | made)
    if not len(at):
        return no_cover()
    affines = np.stack([cover_affine(points) for points in landmarks[at]])
    windows = [seen.windows[n] for n in at]
    cover = find_covers(windows, affines, landmarks[at], clip.times[seen.frames][at], shot[at])
    return replace(cover, places=at[cover.places])


def _no_face_message(clip: Clip, follower: Follower) -> str:
    most = follower.most_faces
    if most == 0:
        if follower.model.odd:
            return (
                f"faces in {clip.path.name} lie on their side or upside down, and no landmarks fit them; "
                "turn the clip upright first"
            )
        if (size := _size_in_enlarged(clip, follower.model)) is not None:
            return _too_small(clip, size)
        return (
            f"no face was found in any of the {len(clip)} frames of {clip.path.name}; "
            "the clip must show a face, at least about 40 pixels wide and not from behind"
        )
    return (
        f"face {follower.rank} was asked for, but no frame of {clip.path.name} shows more than {most} "
        f"face{'s' if most > 1 else ''}; use --face 0{f' to {most - 1}' if most > 1 else ''}"
    )


def _too_small(clip: Clip, size: float) -> str:
    return (
        f"the face in {clip.path.name} is about {size:.0f} pixels wide, and at least {LEAST_FACE:.0f} are "
        "needed; give a larger version of the clip"
    )


def _size_in_enlarged(clip: Clip, model: UprightModel) -> float | None:
    """Size in pixels of the largest face in a few frames that are found only in enlarged copies of them."""
    largest = None
    for t in sorted({len(clip) // 4, len(clip) // 2, 3 * len(clip) // 4}):
        frame = squared(next(iter(clip.frames(t, t + 1))), clip.sample_aspect)
        if frame.shape[0] * frame.shape[1] > _MOST_ENLARGED:
            continue
        for face in model.detect(np.repeat(np.repeat(frame, _ENLARGED, 0), _ENLARGED, 1))[:1]:
            size = float((face.box[2:] - face.box[:2]).max()) / _ENLARGED
            largest = size if largest is None else max(largest, size)
    return largest


def face_boxes(track: FaceTrack) -> F32:
    """Boxes [T,4] = left, top, right, bottom of the followed face in source pixels; NaN without a face."""
    boxes = np.full((len(track.status), 4), np.nan, dtype=np.float32)
    for t in track.usable:
        boxes[t] = box_of(track.landmarks[t])
    return boxes


def compute(run: StageRun) -> None:
    """Write `landmarks`, `dense`, `status`, `repeats`, `shot` and `reason` by frame, and the detector's name.

    For the frames in which something passes before the face, `covered` [M], also `cover` uint8 [M,64,64],
    `cover_affine` [M,2,3] and `cover_share` [M].
    """
    found = track(run.of(decode.STAGE), run.settings.track, on_frame=run.count)
    run.writer.put("landmarks", found.landmarks)
    run.writer.put("dense", found.dense)
    run.writer.put("status", found.status)
    run.writer.put("repeats", found.first)
    run.writer.put("shot", np.zeros(len(found.status), np.int64) if found.shot is None else found.shot)
    run.writer.put("reason", found.reasons)
    cover = found.cover or no_cover()
    run.writer.put("covered", cover.places)
    run.writer.put("cover", cover.masks.astype(np.uint8))
    run.writer.put("cover_affine", cover.affines)
    run.writer.put("cover_share", cover.shares)
    run.writer.meta["detector"] = found.detector


def load(run: StageRun) -> FaceTrack:
    """The track from its arrays."""
    arrays = {name: array.read() for name, array in run.result.arrays.items()}
    detector = run.result.meta["detector"]
    cover = Cover(arrays["covered"], arrays["cover"] > 0, arrays["cover_affine"], arrays["cover_share"])
    others = (arrays["repeats"], arrays["shot"], arrays["reason"], cover)
    return FaceTrack(arrays["landmarks"], arrays["dense"], arrays["status"], detector, *others)


STAGE = Stage(
    "track",
    version=6,
    load=load,
    compute=compute,
    reads=("track",),
    needs=("decode",),
    facts=lambda facts: {"detector": facts.detector_file, "people": facts.face_network},
)


def stages(settings: Settings) -> list[Stage[FaceTrack]]:
    """The stage of every request."""
    return [STAGE]
