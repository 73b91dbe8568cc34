"""What the tests of faces share: real clips where they are at hand, and a landmark model that is scripted."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from pipeline.clip import Clip
from pipeline.faces.landmark_model import FaceDetection, box_of, hint_box, iou, no_mesh

DATA = (Path(__file__).resolve().parents[3] / "../shared/data").resolve()


def real_file(name: str) -> Path:
    """A file of ../shared/data; skips the test where it is absent."""
    path = DATA / name
    if not path.exists():
        pytest.skip(f"needs {name} in ../shared/data, which cannot be shipped")
    return path


def real_frames(name: str, every: int = 1, most: int | None = None) -> list[np.ndarray]:
    """Frames uint8 [H,W,3] RGB of a real clip."""
    import av

    frames: list[np.ndarray] = []
    with av.open(str(real_file(f"clips/{name}"))) as container:
        for i, frame in enumerate(container.decode(video=0)):
            if most is not None and len(frames) >= most:
                break
            if i % every == 0:
                frames.append(frame.to_ndarray(format="rgb24"))
    return frames


class ListSource:
    """Frames from a list; counts how many were ever asked for."""

    def __init__(self, frames: list[np.ndarray]) -> None:
        self.images = frames
        self.served = 0

    def __len__(self) -> int:
        return len(self.images)

    def frames(self, start: int = 0, stop: int | None = None):
        for frame in self.images[start:stop]:
            self.served += 1
            yield frame


def clip_of(frames: list[np.ndarray], fps: float = 25.0) -> Clip:
    """A Clip over frames in memory."""
    count = len(frames)
    height, width = frames[0].shape[:2]
    return Clip(
        path=Path("clip.mp4"),
        content_hash="0" * 64,
        width=width,
        height=height,
        times=np.arange(count) / fps,
        pts=np.arange(count),
        time_base=Fraction(1, 25),
        rate=Fraction(25),
        duration=count / fps,
        has_audio=False,
        source=ListSource(frames),
    )


def face_points(center: tuple[float, float], width: float) -> np.ndarray:
    """68 points [68,2] of a plain face."""
    angle = np.linspace(0, 2 * np.pi, 68, endpoint=False)
    return np.asarray(center) + width / 2 * np.stack([np.cos(angle), 1.3 * np.sin(angle)], axis=1)


def landmarks_at(five: np.ndarray) -> np.ndarray:
    """68 points whose five points are these."""
    points = np.zeros((68, 2))
    for place, point in zip(([36, 39], [42, 45], [30], [48], [54]), five):
        points[place] = point
    return points


class ScriptedModel:
    """Finds in frame t the faces that a script lists; a frame's first pixel holds its number."""

    name = "scripted"

    def __init__(self, script: dict[int, list[tuple[float, float, float]]]) -> None:
        self.script = script
        self.closed = False

    def detect(self, frame: np.ndarray, hint: np.ndarray | None = None) -> list[FaceDetection]:
        faces = []
        for x, y, width in self.script.get(int(frame[0, 0, 0]), []):
            points = face_points((x, y), width).astype(np.float32)
            faces.append(FaceDetection(points, no_mesh(), box_of(points), 0.9))
        faces.sort(key=lambda f: -float(f.box[2] - f.box[0]))
        if hint is None:
            return faces
        return [f for f in faces if iou(f.box, hint_box(hint)) > 0.2][:1]

    def close(self) -> None:
        self.closed = True


def numbered_frames(count: int, size: tuple[int, int] = (100, 200)) -> list[np.ndarray]:
    """Black frames that carry their number in all four corners, so that turned copies do, too."""
    frames = [np.zeros((*size, 3), dtype=np.uint8) for _ in range(count)]
    for t, frame in enumerate(frames):
        frame[[0, 0, -1, -1], [0, -1, 0, -1], 0] = t
    return frames


def rough_faces(count, seed=0, spread=40.0):
    """Rough 68-point faces [count,68,2] with eyes, nose and mouth where they belong."""
    rng = np.random.default_rng(seed)
    points = rng.normal(0, 3, (count, 68, 2)) + 200
    for slots, place in (
        ((36, 37, 38, 39, 40, 41), (-30, -28)),
        ((42, 43, 44, 45, 46, 47), (30, -28)),
        ((30,), (0, 5)),
        ((48,), (-25, 38)),
        ((54,), (25, 38)),
    ):
        points[:, list(slots)] += place
    return points + rng.normal(0, spread, (count, 1, 2))
