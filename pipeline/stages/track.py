"""Stage `track`: follow one face through the clip."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from pipeline.clip import F32, U8, Clip, FaceTrack, Status
from pipeline.errors import NoFaceError, UserError
from pipeline.faces.detectors import load_landmark_model
from pipeline.faces.landmark_indices import IBUG_POINTS
from pipeline.faces.landmark_model import FaceDetection, LandmarkModel, box_of, iou, no_mesh
from pipeline.faces.smoothing import fill_gaps, smooth
from pipeline.request.settings import Settings, TrackSettings
from pipeline.stages import decode
from pipeline.stages.run import StageRun
from pipeline.stages.stage import Stage
from pipeline.video.aspect import squared, squared_size

OnFrame = Callable[[int, int], None]
"""Called as on_frame(frames done, frames in all)."""

_SPEED = 4.0
"""How many of its own sizes a lost face may be away from where it was, for each second since."""


def track(
    clip: Clip,
    settings: TrackSettings,
    on_frame: OnFrame | None = None,
    model: LandmarkModel | None = None,
) -> FaceTrack:
    """Follow the largest face, or the N-th largest, through the clip in one pass over its frames.

    Gaps of up to `settings.max_gap` seconds are interpolated, longer ones stay without a face; then the
    landmarks are smoothed, never across a gap (In-N-Out section 5 smooths 68 landmarks with a sliding
    window). `model` takes the place of the one that the settings name. Returns landmarks in source pixels.
    Raises NoFaceError where no frame has the face asked for, UserError for settings that make no sense.
    """
    if settings.face < 0:
        raise UserError(f"--face counts from 0 (the largest), got {settings.face}")
    count = len(clip)
    own = load_landmark_model(settings.detector) if model is None else model
    follower = _Follower(own, settings.face, settings.max_gap)
    landmarks = np.full((count, IBUG_POINTS, 2), np.nan, dtype=np.float32)
    dense = np.repeat(no_mesh()[None], count, axis=0)
    found = np.zeros(count, dtype=bool)
    try:
        for t, frame in enumerate(clip.frames()):
            face = follower.step(squared(frame, clip.sample_aspect), float(clip.times[t]))
            if face is not None:
                landmarks[t], dense[t], found[t] = face.landmarks68, face.dense, True
            if on_frame is not None:
                on_frame(t + 1, count)
    finally:
        if model is None:
            own.close()
    if not found.any():
        raise NoFaceError(_no_face_message(clip, settings, follower.most_faces))
    square = squared_size(clip.width, clip.height, clip.sample_aspect)
    scale = np.array([clip.width, clip.height], np.float32) / np.array(square, np.float32)
    landmarks, dense = landmarks * scale, dense * scale
    landmarks, made = _complete(landmarks, found, clip, settings)
    dense, _ = _complete(dense, found, clip, settings)
    status = np.full(count, Status.NO_FACE, dtype=np.uint8)
    status[found] = Status.FOUND
    status[made] = Status.INTERPOLATED
    return FaceTrack(landmarks, dense, status, own.name)


def _complete(
    points: F32, found: npt.NDArray[np.bool_], clip: Clip, settings: TrackSettings
) -> tuple[F32, npt.NDArray[np.bool_]]:
    """Interpolate short gaps, then smooth what is there."""
    filled, made = fill_gaps(points, found, clip.times, settings.max_gap)
    smoothed = smooth(filled, found | made, settings.smoothing, settings.smoothing_window)
    return smoothed.astype(np.float32), made


def _no_face_message(clip: Clip, settings: TrackSettings, most: int) -> str:
    if most == 0:
        return (
            f"no face was found in any of the {len(clip)} frames of {clip.path.name}; "
            "the clip must show a face, at least about 40 pixels wide and not from behind"
        )
    return (
        f"face {settings.face} was asked for, but no frame of {clip.path.name} shows more than {most} "
        f"face{'s' if most > 1 else ''}; use --face 0{f' to {most - 1}' if most > 1 else ''}"
    )


@dataclass
class _Follower:
    """Keeps hold of one face from frame to frame."""

    model: LandmarkModel
    rank: int
    patience: float
    most_faces: int = 0
    last: FaceDetection | None = None
    last_time: float = 0.0
    others: list[F32] = field(default_factory=list)

    def step(self, frame: U8, time: float) -> FaceDetection | None:
        """The face in this frame, or None."""
        face = self._start(frame) if self.last is None else self._follow(frame, time)
        if face is not None:
            self.last, self.last_time = face, time
        return face

    def _start(self, frame: U8) -> FaceDetection | None:
        faces = self.model.detect(frame)
        self.most_faces = max(self.most_faces, len(faces))
        return faces[self.rank] if len(faces) > self.rank else None

    def _follow(self, frame: U8, time: float) -> FaceDetection | None:
        last = self.last
        if last is None:
            return None
        away = time - self.last_time
        # while the face was just seen, look where it was; that finds it covered, too
        if away <= self.patience:
            near = [f for f in self.model.detect(frame, last.hint) if self._same(f, last, away)]
            if near:
                return near[0]
        near = [f for f in self.model.detect(frame) if self._same(f, last, away)]
        return max(near, key=lambda f: (iou(f.box, last.box), -_distance(f, last)), default=None)

    @staticmethod
    def _same(face: FaceDetection, last: FaceDetection, away: float) -> bool:
        """Whether a face can be the one lost `away` seconds ago: the longer ago, the farther it may be."""
        width, before = (float((f.box[2:] - f.box[:2]).max()) for f in (face, last))
        reach = 0.5 + _SPEED * away
        ratio = 1.5 + away
        return _distance(face, last) <= reach * before and 1 / ratio <= width / before <= ratio


def _distance(a: FaceDetection, b: FaceDetection) -> float:
    """Distance in pixels between two faces' landmarks as a whole."""
    return float(np.linalg.norm(a.landmarks68.mean(axis=0) - b.landmarks68.mean(axis=0)))


def face_boxes(track: FaceTrack) -> F32:
    """Boxes [T,4] = left, top, right, bottom of the followed face in source pixels; NaN without a face."""
    boxes = np.full((len(track.status), 4), np.nan, dtype=np.float32)
    for t in track.usable:
        boxes[t] = box_of(track.landmarks[t])
    return boxes


def compute(run: StageRun) -> None:
    """Write `landmarks`, `dense`, `status`, and the detector's name."""
    found = track(run.of(decode.STAGE), run.settings.track, on_frame=run.count)
    run.writer.put("landmarks", found.landmarks)
    run.writer.put("dense", found.dense)
    run.writer.put("status", found.status)
    run.writer.meta["detector"] = found.detector


def load(run: StageRun) -> FaceTrack:
    """The track from its arrays."""
    arrays = {name: array.read() for name, array in run.result.arrays.items()}
    detector = run.result.meta["detector"]
    return FaceTrack(arrays["landmarks"], arrays["dense"], arrays["status"], detector)


STAGE = Stage(
    "track",
    version=2,
    load=load,
    compute=compute,
    reads=("track",),
    needs=("decode",),
    facts=lambda facts: facts.detector_file,
)


def stages(settings: Settings) -> list[Stage[FaceTrack]]:
    """The stage of every request."""
    return [STAGE]
