"""Following one face: gaps, several faces, smoothing, and what happens where there is none."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from pipeline.clip import Reason, Status
from pipeline.errors import NoFaceError, UnknownNameError
from pipeline.request.faces import Face
from pipeline.request.settings import TrackSettings
from pipeline.stages.track import face_boxes, track
from tests.pipeline.faces.faces_data import (
    ListSource,
    ScriptedModel,
    clip_of,
    face_points,
    numbered_frames,
    real_frames,
)

PLAIN = TrackSettings(smoothing="none")


def follow(script, count, settings=PLAIN, fps=25.0):
    return track(clip_of(numbered_frames(count), fps), settings, model=ScriptedModel(script))


def test_a_still_face_is_found_in_every_frame_in_one_pass():
    clip = clip_of(numbered_frames(8))
    seen = []
    result = track(
        clip,
        PLAIN,
        on_frame=lambda done, total: seen.append((done, total)),
        model=ScriptedModel({t: [(60, 50, 40)] for t in range(8)}),
    )
    assert (result.status == Status.FOUND).all()
    np.testing.assert_allclose(result.landmarks[3], face_points((60, 50), 40), rtol=1e-5)
    assert np.isnan(result.dense).all() and result.detector == "scripted"
    assert seen == [(t + 1, 8) for t in range(8)]
    assert isinstance(clip.source, ListSource) and clip.source.served == 8


@pytest.mark.parametrize(("aspect", "shape"), [(Fraction(2), (100, 400)), (Fraction(1, 2), (200, 200))])
def test_faces_are_looked_for_in_square_pixels(aspect, shape):
    class Seeing(ScriptedModel):
        def detect(self, frame, hint=None):
            assert frame.shape[:2] == shape
            return super().detect(frame, hint)

    clip = replace(clip_of(numbered_frames(2)), sample_aspect=aspect)
    found = track(clip, PLAIN, model=Seeing({0: [(60, 50, 40)], 1: [(60, 50, 40)]}))
    source = face_points((60, 50), 40) * [200 / shape[1], 100 / shape[0]]
    np.testing.assert_allclose(found.landmarks[1], source, rtol=1e-5)


def test_short_gaps_are_interpolated_and_long_ones_have_no_face():
    script = {t: [(60 + t, 50, 40)] for t in range(60) if t not in range(5, 12) and t not in range(20, 45)}
    result = follow(script, 60)
    assert (result.status[5:12] == Status.INTERPOLATED).all()
    assert (result.status[20:45] == Status.NO_FACE).all()
    assert (result.status[45:] == Status.FOUND).all()
    np.testing.assert_allclose(result.landmarks[8], face_points((68, 50), 40), rtol=1e-4)
    assert np.isnan(result.landmarks[20:45]).all()
    np.testing.assert_array_equal(result.usable, [*range(20), *range(45, 60)])


def test_frames_before_the_first_and_after_the_last_face_stay_without():
    result = follow({t: [(60, 50, 40)] for t in range(4, 9)}, 12)
    np.testing.assert_array_equal(result.status, [0] * 4 + [2] * 5 + [0] * 3)


def test_the_largest_face_is_followed_even_when_another_one_grows_larger():
    script = {t: [(50, 50, 40), (150, 50, 20 + 3 * t)] for t in range(12)}
    largest = follow(script, 12)
    np.testing.assert_allclose(np.nanmean(largest.landmarks[..., 0]), 50, atol=1)
    second = follow(script, 12, TrackSettings(face=(Face(1),), smoothing="none"))
    np.testing.assert_allclose(np.nanmean(second.landmarks[..., 0]), 150, atol=1)


def test_a_lost_face_is_not_replaced_by_another_one():
    script = {t: [(40, 50, 30), (160, 50, 30 - 1)] if t < 5 else [(160, 50, 29)] for t in range(10)}
    result = follow(script, 10)
    np.testing.assert_array_equal(result.status, [2] * 5 + [0] * 5)


def test_a_face_that_comes_back_elsewhere_later_is_taken_up_again():
    script = {t: [(40, 50, 30)] for t in range(5)} | {t: [(150, 50, 30)] for t in range(45, 50)}
    result = follow(script, 50)
    assert (result.status[45:] == Status.FOUND).all()


def test_smoothing_is_sub_pixel_and_reduces_jitter():
    rng = np.random.default_rng(0)
    script = {t: [(60 + 0.4 * rng.normal(), 50 + 0.4 * rng.normal(), 40)] for t in range(50)}
    rough = follow(script, 50)
    box = follow(script, 50, TrackSettings(smoothing="box", smoothing_window=0.09))
    gaussian = follow(script, 50, TrackSettings())

    def jitter(result):
        return np.abs(np.diff(result.landmarks[:, 0, 0])).mean()

    assert jitter(box) < 0.6 * jitter(rough)
    assert jitter(gaussian) < jitter(box), "no more than that of a sliding window of three frames"


@pytest.mark.parametrize("fps", [12.0, 25.0, 60.0])
def test_a_jump_within_a_shot_moves_no_frame_beside_it(fps):
    """A jump cut: the background stays, the face is 60 pixels to the side."""
    script = {t: [(60 + 0.5 * t, 50, 40)] if t < 10 else [(120 - 0.5 * t, 50, 40)] for t in range(20)}
    rough, calm = follow(script, 20, fps=fps), follow(script, 20, TrackSettings(), fps=fps)
    np.testing.assert_allclose(calm.landmarks, rough.landmarks, atol=1e-3)
    assert calm.shot[9] != calm.shot[10] and len(set(calm.shot)) == 2


def test_pictures_seconds_apart_are_not_mixed():
    script = {t: [(60 + 7 * t, 50, 40)] for t in range(6)}
    rough, calm = follow(script, 6, fps=0.5), follow(script, 6, TrackSettings(), fps=0.5)
    np.testing.assert_array_equal(calm.landmarks, rough.landmarks)


def test_a_shake_keeps_its_reach():
    """A head that turns to and fro at 3 Hz is never off by more than 2 % of its size."""
    script = {t: [(100 + 20 * np.sin(2 * np.pi * 3 * t / 25), 50, 40)] for t in range(50)}
    rough, calm = follow(script, 50), follow(script, 50, TrackSettings())
    off = np.linalg.norm(calm.landmarks - rough.landmarks, axis=-1)
    assert off.max() < 0.02 * 52, "the face is 52 pixels high"
    assert len(set(calm.shot)) == 1


@pytest.mark.parametrize("times", [2, 4])
def test_frames_that_repeat_are_looked_at_once_and_have_the_same_face(times):
    rng = np.random.default_rng(1)
    script = {t: [(60 + rng.normal(), 50 + rng.normal(), 40)] for t in range(12)}
    frames = [frame for frame in numbered_frames(12) for _ in range(times)]
    seen = []

    class Counting(ScriptedModel):
        def detect(self, frame, hint=None):
            if hint is not None:
                seen.append(int(frame[0, 0, 0]))
            return super().detect(frame, hint)

    found = track(clip_of(frames, 12.0 * times), TrackSettings(), model=Counting(script))
    once = follow(script, 12, TrackSettings(), fps=12.0)
    assert seen == list(range(1, 12))
    np.testing.assert_array_equal(found.repeats, np.repeat(np.arange(12) * times, times))
    np.testing.assert_array_equal(found.landmarks, np.repeat(once.landmarks, times, axis=0))
    np.testing.assert_array_equal(found.fitted, np.arange(12) * times)
    np.testing.assert_array_equal(found.rows, np.repeat(np.arange(12), times))


def test_nearly_equal_frames_are_not_repeats():
    frames = numbered_frames(4)
    frames[2] = frames[1].copy()
    frames[2][50, 50, 1] += 1
    model = ScriptedModel({t: [(60, 50, 40)] for t in range(4)})
    found = track(clip_of(frames), PLAIN, model=model)
    np.testing.assert_array_equal(found.fitted, np.arange(4))


def test_no_face_at_all_is_an_error_with_one_line():
    with pytest.raises(NoFaceError, match=r"no face was found in any of the 5 frames of clip.mp4") as caught:
        follow({}, 5)
    assert "\n" not in str(caught.value)


def test_asking_for_a_face_that_never_shows_names_how_many_there_are():
    with pytest.raises(NoFaceError, match=r"no frame of clip.mp4 shows more than 2 faces; use --face 0 to 1"):
        follow({t: [(50, 50, 40), (150, 50, 30)] for t in range(5)}, 5, TrackSettings(face=(Face(4),)))


def test_an_unknown_detector_lists_the_known_ones():
    with pytest.raises(UnknownNameError, match="mediapipe, fan"):
        track(clip_of(numbered_frames(2)), TrackSettings(detector="dlib"))


def test_the_model_passed_in_is_left_open_for_its_owner():
    model = ScriptedModel({0: [(60, 50, 40)]})
    track(clip_of(numbered_frames(1)), PLAIN, model=model)
    assert not model.closed


def test_boxes_hold_the_landmarks():
    result = follow({0: [(60, 50, 40)]}, 2)
    box = face_boxes(result)
    assert np.isnan(box[1]).all()
    assert (box[0, :2] <= result.landmarks[0].min(axis=0)).all()
    assert (box[0, 2:] >= result.landmarks[0].max(axis=0)).all()


@pytest.mark.weights
@pytest.mark.parametrize(
    ("name", "every", "least"),
    [
        ("liveportrait_d12.mp4", 6, 1.0),
        ("liveportrait_d18.mp4", 6, 1.0),
        ("liveportrait_s29.mp4", 6, 1.0),
        ("fsgan_conan_obrien.mp4", 6, 1.0),
        ("retalking_1.mp4", 6, 1.0),
        ("intel_head-pose-face-detection-male.gif", 3, 1.0),
        # she turns away at the end, where the one face to be found is her neighbour's
        ("mpiigaze_video02.mp4", 10, 0.78),
        ("facemask_resnet_output.gif", 1, 0.95),
    ],
)
def test_real_clips_reach_the_stated_rates(name, every, least):
    frames = real_frames(name, every, most=40 if every < 6 else 14)
    result = track(clip_of(frames, 25.0 / every), TrackSettings(smoothing="none"))
    assert (result.status == Status.FOUND).mean() >= least
    boxes = face_boxes(result)[result.usable]
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2
    sizes = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)
    # the same face all along: it never jumps farther than it can move
    assert (np.linalg.norm(np.diff(centers, axis=0), axis=1) < 1.5 * sizes[1:]).all()
    assert not np.isnan(result.dense[result.usable]).any()


@pytest.mark.weights
def test_the_face_of_a_neighbour_is_not_taken_for_one_that_turns_away():
    frames = real_frames("mpiigaze_video02.mp4", 10, most=14)
    result = track(clip_of(frames, 2.5), TrackSettings(smoothing="none"))
    centers = result.landmarks[result.usable].mean(axis=1)
    assert centers[:, 0].max() < 0.5 * frames[0].shape[1], "the child on the left"
    assert result.reasons[12] == Reason.OTHER_PERSON


@pytest.mark.weights
def test_tracking_is_the_same_every_time():
    frames = real_frames("intel_head-pose-face-detection-male.gif", 10)
    first, second = (track(clip_of(frames), PLAIN) for _ in range(2))
    np.testing.assert_array_equal(first.dense, second.dense)
