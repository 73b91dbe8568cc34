"""The same person through loss, cut and crossing, with faces whose looks a script gives."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.clip import Reason
from pipeline.errors import NoFaceError
from pipeline.faces.landmark_model import FaceDetection, box_of, hint_box, iou, no_mesh
from pipeline.request.faces import Face
from pipeline.request.settings import TrackSettings
from pipeline.stages.track import track
from tests.pipeline.faces.faces_data import clip_of, face_points

LOOKS = {"A": np.array([1.0, 0.0, 0.0]), "B": np.array([0.0, 1.0, 0.0]), "C": np.array([0.0, 0.0, 1.0])}


class Stage:
    """A clip of people: by frame, who is where and how wide, those in front last. Is model and embedder."""

    name = "stage"
    threshold = 0.5

    def __init__(self, frames, backgrounds=None):
        self.frames = frames
        shades = backgrounds or [0] * len(frames)
        self.pictures = []
        for t, shade in enumerate(shades):
            picture = np.full((100, 400, 3), shade, np.uint8)
            picture[[0, 0, -1, -1], [0, -1, 0, -1], 0] = t
            self.pictures.append(picture)

    def _faces(self, frame):
        found = []
        for who, (x, y, width) in self.frames[int(frame[0, 0, 0])]:
            points = face_points((x, y), width).astype(np.float32)
            face = FaceDetection(points, no_mesh(), box_of(points), 0.9)
            found = [(w, f) for w, f in found if iou(f.box, face.box) < 0.4] + [(who, face)]
        return sorted(found, key=lambda one: -float(np.ptp(one[1].box[::2])))

    def detect(self, frame, hint=None):
        faces = [face for _, face in self._faces(frame)]
        if hint is None:
            return faces
        near = sorted(faces, key=lambda face: -iou(face.box, hint_box(hint)))
        return [face for face in near if iou(face.box, hint_box(hint)) > 0.2][:1]

    def embed(self, images, landmarks):
        rows = []
        for image, points in zip(images, landmarks, strict=True):
            here = [who for who, face in self._faces(image) if np.array_equal(face.landmarks68, points)]
            rows.append(LOOKS[here[0]])
        return np.array(rows, np.float32)

    def close(self):
        """Nothing is held."""

    def follow(self, face=0, fps=25.0):
        clip = clip_of(self.pictures, fps)
        return track(clip, TrackSettings(smoothing="none", face=(Face(face),)), model=self, embedder=self)

    def where(self, who):
        """The middle of this person in every frame, NaN where hidden or away."""
        out = np.full(len(self.frames), np.nan)
        for t, picture in enumerate(self.pictures):
            for name, face in self._faces(picture):
                if name == who:
                    out[t] = face.landmarks68[:, 0].mean()
        return out


def at(result):
    """The middle of the followed face in every frame, NaN without one."""
    return result.landmarks[..., 0].mean(axis=1)


def crossing(front, count=60):
    """A goes to the right, B to the left, one before the other, their sizes changing."""
    frames = []
    for t in range(count):
        u = t / (count - 1)
        people = [("A", (50 + 300 * u, 50, 40 - 10 * u)), ("B", (350 - 300 * u, 50, 30 + 10 * u))]
        frames.append(people if front == "B" else people[::-1])
    return Stage(frames)


@pytest.mark.parametrize("front", ["A", "B"])
@pytest.mark.parametrize(("face", "who"), [(0, "A"), (1, "B")])
def test_two_heads_that_cross_are_not_confused(front, face, who):
    stage = crossing(front)
    found, truth = at(stage.follow(face)), stage.where(who)
    seen = ~np.isnan(truth)
    right = np.abs(found - truth) < 2
    assert (right & seen).sum() >= 0.95 * seen.sum()
    other = stage.where("A" if who == "B" else "B")
    assert not ((np.abs(found - other) < np.abs(found - truth)) & seen).any()


def test_after_a_cut_the_same_person_is_taken_up_elsewhere_and_no_other():
    first, second = [("A", (60, 50, 40)), ("B", (300, 50, 30))], [("B", (60, 50, 40)), ("A", (300, 50, 30))]
    third = [("C", (60, 50, 40))]
    stage = Stage([first] * 8 + [second] * 8 + [third] * 20, [0] * 8 + [120] * 8 + [250] * 20)
    result = stage.follow()
    np.testing.assert_allclose(at(result)[:16], [60] * 8 + [300] * 8, atol=1)
    assert (result.status[16:] == 0).all() and (result.reasons[16:] == Reason.OTHER_PERSON).all()
    assert [Reason(r).said for r in sorted(set(result.reasons.tolist()))] == ["", "other person"]


def test_a_person_who_comes_back_at_the_place_of_another_is_known():
    """A leaves, B sits down where A was, and later A comes back where B was."""
    frames = [[("A", (60, 50, 40)), ("B", (300, 50, 36))]] * 5 + [[("B", (300, 50, 36))]] * 20
    frames += [[("B", (60, 50, 40))]] * 30 + [[("B", (60, 50, 40)), ("A", (300, 50, 36))]] * 5
    result = Stage(frames).follow()
    np.testing.assert_allclose(at(result)[-5:], 300, atol=1)
    assert (result.status[25:55] == 0).all()


def test_numbers_are_those_of_people_not_of_places():
    """B comes later and is larger: A is 0 all the same, and B is 1."""
    alone = [[("A", (60, 50, 30))]] * 5
    stage = Stage([*alone, *[[("A", (60, 50, 30)), ("B", (300, 50, 50))]] * 5])
    np.testing.assert_allclose(at(stage.follow(0)), 60, atol=1)
    second = stage.follow(1)
    np.testing.assert_allclose(at(second)[5:], 300, atol=1)
    assert (second.reasons[:5] == Reason.OTHER_PERSON).all()


def test_a_face_found_late_is_sought_backwards():
    class Shy(Stage):
        """Finds a face without a hint only from frame 10 on."""

        def detect(self, frame, hint=None):
            return super().detect(frame, hint) if hint is not None or frame[0, 0, 0] >= 10 else []

    result = Shy([[("A", (60 + t, 50, 40))] for t in range(20)]).follow()
    np.testing.assert_allclose(at(result), 60 + np.arange(20), atol=1)


def test_a_face_too_small_is_refused_with_its_size_and_passed_through_where_it_is_small_for_a_while():
    with pytest.raises(NoFaceError, match="is about 13 pixels wide, and at least 24 are needed"):
        Stage([[("A", (60, 50, 10))]] * 4).follow()
    frames = [[("A", (60, 50, 24))]] * 3 + [[("A", (60, 50, 18))]] * 3
    assert Stage(frames).follow().reasons.tolist() == [0] * 3 + [Reason.TOO_SMALL] * 3
