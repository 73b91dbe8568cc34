"""Landmark models behind one protocol: boxes, windows, small faces, wrong files."""

from __future__ import annotations

import pickle
import struct
import subprocess
import sys
from importlib import import_module

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inverters.people.params import sample_scores
from inverters.people.picture import portraits
from inverters.rendering.cameras import default_intrinsics, look_at
from pipeline.errors import UnknownNameError, UserError
from pipeline.faces.detectors import LANDMARK_MODELS, load_landmark_model
from pipeline.faces.fan import FanLandmarks, weights_path
from pipeline.faces.landmark_indices import (
    IBUG_POINTS,
    MESH_MOVING,
    MESH_POINTS,
    MESH_STABLE,
    MESH_TO_IBUG,
    mesh_to_ibug,
    mirror_pairs,
)
from pipeline.faces.landmark_model import FaceDetection, box_of, distinct, iou, square_window
from pipeline.faces.mediapipe_mesh import MediaPipeMesh
from pipeline.faces.tddfa import MobileNetHalf, TddfaLandmarks
from tests.pipeline.faces.faces_data import (
    ScriptedModel,
    face_points,
    numbered_frames,
    real_file,
    real_frames,
)

boxes = st.tuples(*[st.floats(0, 100)] * 2, *[st.floats(1, 50)] * 2).map(
    lambda v: np.array([v[0], v[1], v[0] + v[2], v[1] + v[3]])
)


@pytest.fixture(scope="module")
def mesh():
    model = MediaPipeMesh()
    yield model
    model.close()


@pytest.fixture(scope="module")
def head():
    """A made-up person, uint8 [128,128,3]."""
    scores = 0.5 * sample_scores(1, torch.Generator().manual_seed(11))
    image = portraits(scores, look_at(0.1, 0.0), default_intrinsics(), (128, 128))[0]
    return ((image.permute(1, 2, 0) + 1) * 127.5).round().byte().numpy()


@given(boxes, boxes)
@settings(max_examples=60)
def test_overlap_is_symmetric_and_one_only_for_itself(a, b):
    assert iou(a, b) == pytest.approx(iou(b, a))
    assert 0 <= iou(a, b) <= 1 + 1e-9
    assert iou(a, a) == pytest.approx(1)


@given(st.floats(-50, 150), st.floats(-50, 150), st.floats(2, 120))
@settings(max_examples=60)
def test_windows_show_the_frames_own_pixels(x, y, side):
    frame = np.random.default_rng(0).integers(1, 255, (80, 100, 3), dtype=np.uint8)
    window, corner = square_window(frame, (x, y), side)
    assert window.shape[0] == window.shape[1] >= side
    left, top = corner.astype(int)
    for i, j in ((0, 0), (window.shape[0] // 2, window.shape[1] // 3), (window.shape[0] - 1,) * 2):
        inside = 0 <= top + i < 80 and 0 <= left + j < 100
        np.testing.assert_array_equal(window[i, j], frame[top + i, left + j] if inside else 0)


def test_tables_name_each_vertex_once():
    for table in (MESH_TO_IBUG, np.concatenate([MESH_STABLE, MESH_MOVING])):
        assert len(np.unique(table)) == len(table) and table.max() < MESH_POINTS
    assert len(MESH_TO_IBUG) == IBUG_POINTS
    dense = np.arange(2.0 * MESH_POINTS).reshape(MESH_POINTS, 2)
    np.testing.assert_array_equal(mesh_to_ibug(dense)[30], dense[4])


def test_mirror_pairs_pair():
    half = np.random.default_rng(0).uniform(0.05, 1, (20, 3))
    points = np.concatenate([half, half * [-1, 1, 1], [[0, 0.3, 0.2]]])
    pairs = mirror_pairs(points)
    np.testing.assert_array_equal(pairs[pairs], np.arange(41))
    assert pairs[40] == 40 and pairs[3] == 23


def test_of_two_overlapping_faces_the_surer_one_stays():
    def face(x, score, width=20.0):
        points = face_points((x, 50), width).astype(np.float32)
        return FaceDetection(points, np.zeros((478, 2), np.float32), box_of(points), score)

    kept = distinct([face(50, 0.6), face(53, 0.9), face(150, 0.5, 40)])
    assert [f.score for f in kept] == [0.5, 0.9]


def test_a_head_is_found_where_it_is(mesh, head):
    [face] = mesh.detect(head)
    assert face.landmarks68.shape == (68, 2) and face.dense.shape == (478, 2) and face.score > 0.5
    left_eye, right_eye = face.landmarks68[36:42].mean(axis=0), face.landmarks68[42:48].mean(axis=0)
    nose, chin = face.landmarks68[30], face.landmarks68[8]
    assert left_eye[0] < nose[0] < right_eye[0] and left_eye[1] < nose[1] < chin[1]


def test_nothing_is_found_in_nothing(mesh):
    assert mesh.detect(np.full((90, 160, 3), 127, np.uint8)) == []
    assert mesh.detect(np.zeros((90, 160, 3), np.uint8), np.array([30, 30, 60, 60.0])) == []


@pytest.mark.parametrize("place", [(40, 30), (500, 250), (-1, 180)])
def test_a_face_small_in_a_large_frame_is_found(mesh, head, place):
    frame = np.full((480, 854, 3), 120, np.uint8)
    x = place[0] if place[0] >= 0 else 854 - 128
    frame[place[1] : place[1] + 128, x : x + 128] = head
    [alone] = mesh.detect(head)
    [found] = mesh.detect(frame)
    np.testing.assert_allclose(found.landmarks68 - [x, place[1]], alone.landmarks68, atol=3.0)
    [followed] = mesh.detect(frame, found.hint)
    np.testing.assert_allclose(followed.dense, found.dense, atol=1.5)


def test_landmarks_move_with_the_picture(mesh, head):
    frame = np.full((256, 256, 3), 120, np.uint8)
    frame[40:168, 50:178] = head
    moved = np.roll(frame, (7, 5), axis=(0, 1))
    [here], [there] = mesh.detect(frame), mesh.detect(moved)
    np.testing.assert_allclose(there.dense - here.dense, [[5, 7]] * MESH_POINTS, atol=1.5)


def test_two_heads_are_two_faces_largest_first(mesh, head):
    frame = np.full((200, 400, 3), 120, np.uint8)
    frame[36:164, 20:148] = head
    small = torch.nn.functional.interpolate(
        torch.from_numpy(head).permute(2, 0, 1)[None].float(), scale_factor=0.75, mode="bilinear"
    )[0]
    frame[52:148, 260:356] = small.permute(1, 2, 0).byte().numpy()
    faces = mesh.detect(frame)
    assert [f.box[0] > 200 for f in faces] == [False, True]


def test_reading_again_gives_the_same(mesh, head):
    first, second = mesh.detect(head), mesh.detect(head)
    np.testing.assert_array_equal(first[0].dense, second[0].dense)


@pytest.mark.parametrize("name", ["yolo", "mediapipe:x", "fan:x", "3ddfa", "3ddfa:", ""])
def test_an_unknown_detector_is_refused_with_the_known_ones(name):
    with pytest.raises(UnknownNameError, match=r"known: mediapipe, fan, fan:download, 3ddfa:PATH$"):
        load_landmark_model(name)


@pytest.mark.parametrize("target", LANDMARK_MODELS.values())
def test_the_table_of_detectors_names_callables(target):
    module, _, attribute = target.partition(":")
    assert callable(getattr(import_module(module), attribute))


def test_the_table_of_detectors_imports_no_model():
    code = "import sys, pipeline.faces.detectors; print(sorted({'torch', 'mediapipe'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_fan_without_weights_says_where_they_go_and_fetches_nothing(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(UserError, match="fan:download") as caught:
        load_landmark_model("fan")
    assert str(weights_path()) in str(caught.value) and not any(tmp_path.rglob("*.tar"))


def test_fan_reads_landmarks_in_the_faces_that_are_found():
    class Network:
        def get_landmarks_from_image(self, frame, detected_faces):
            return [np.tile([[box[0], box[1], 0.0]], (68, 1)) for box in detected_faces]

    finder = ScriptedModel({0: [(50, 50, 40)]})
    [face] = FanLandmarks(finder=finder, network=Network()).detect(numbered_frames(1)[0])
    np.testing.assert_allclose(face.landmarks68[0], finder.detect(numbered_frames(1)[0])[0].box[:2] + 0.5)
    assert np.isnan(face.dense).all() and face.hint.shape == (68, 2)


def test_3ddfa_names_missing_files(tmp_path):
    with pytest.raises(UserError, match=r"mb05_120x120\.pth"):
        load_landmark_model(f"3ddfa:{tmp_path}")


class _Evil:
    def __reduce__(self):
        return (exec, ("raise SystemExit('ran')",))


@pytest.mark.parametrize(
    "payload", [_Evil(), {"mean": np.array([object()]), "std": np.zeros(62)}, {"mean": 1}]
)
def test_3ddfa_runs_nothing_that_is_in_its_files(tmp_path, payload):
    torch.save({"state_dict": MobileNetHalf().state_dict()}, tmp_path / "mb05_120x120.pth")
    (tmp_path / "param_mean_std_62d_120x120.pkl").write_bytes(pickle.dumps(payload))
    for name, shape in (("u_base", (204, 1)), ("w_shp_base", (204, 40)), ("w_exp_base", (204, 10))):
        np.save(tmp_path / f"{name}.npy", np.zeros(shape))
    with pytest.raises(UserError, match="damaged or of another kind"):
        TddfaLandmarks(tmp_path, ScriptedModel({}))


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data.replace(b"(204, 10)", b"((204,1)"),
        lambda data: data.replace(b"(204, 10)", b"(1, 2040)")[:-8],
        lambda data: b"PK" + data,
        lambda data: data.replace(b"False", b"F lse"),
        lambda data: data[:-8] + struct.pack("<d", np.nan),
        lambda data: data.replace(b"<f8", b"|S8"),
        lambda data: data.replace(b"(204, 10)", b"(102, 10)"),
    ],
)
def test_3ddfa_refuses_a_damaged_basis_in_one_line(tmp_path, damage):
    torch.save({"state_dict": MobileNetHalf().state_dict()}, tmp_path / "mb05_120x120.pth")
    (tmp_path / "param_mean_std_62d_120x120.pkl").write_bytes(
        pickle.dumps({"mean": np.zeros(62), "std": np.ones(62)})
    )
    for name, shape in (("u_base", (204, 1)), ("w_shp_base", (204, 40)), ("w_exp_base", (204, 10))):
        np.save(tmp_path / f"{name}.npy", np.zeros(shape))
    path = tmp_path / "w_exp_base.npy"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match="damaged or of another kind") as caught:
        TddfaLandmarks(tmp_path, ScriptedModel({}))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_3ddfa_accepts_the_plain_files(tmp_path):
    torch.save({"state_dict": MobileNetHalf().state_dict()}, tmp_path / "mb05_120x120.pth")
    scaling = {"mean": np.zeros(62, np.float32), "std": np.ones(62, np.float32)}
    (tmp_path / "param_mean_std_62d_120x120.pkl").write_bytes(pickle.dumps(scaling))
    for name, shape in (("u_base", (204, 1)), ("w_shp_base", (204, 40)), ("w_exp_base", (204, 10))):
        np.save(tmp_path / f"{name}.npy", np.zeros(shape))
    [face] = TddfaLandmarks(tmp_path, ScriptedModel({0: [(50, 50, 40)]})).detect(numbered_frames(1)[0])
    assert np.isfinite(face.landmarks68).all()


@pytest.mark.weights
def test_3ddfa_agrees_with_the_mesh_on_real_frames(mesh):
    model = TddfaLandmarks(real_file("networks/3ddfa"), mesh)
    errors = []
    for name in ("liveportrait_d12.mp4", "fsgan_conan_obrien.mp4", "retalking_1.mp4"):
        for frame in real_frames(name, every=8, most=4):
            [face] = mesh.detect(frame)[:1]
            [other] = model.detect(frame, face.hint)
            eyes = np.linalg.norm(face.landmarks68[36] - face.landmarks68[45])
            errors.append(np.linalg.norm(other.landmarks68 - face.landmarks68, axis=1)[17:].mean() / eyes)
    assert np.mean(errors) < 0.05


@pytest.mark.weights
def test_single_frames_of_a_masked_face_are_found_more_often_than_by_the_stock_solution(mesh):
    frames = real_frames("facemask_resnet_output.gif", every=3)
    assert np.mean([bool(mesh.detect(frame)) for frame in frames]) >= 0.44


@pytest.mark.weights
def test_faces_of_84_pixels_are_found_in_single_frames(mesh):
    frames = real_frames("intel_head-pose-face-detection-male.gif", every=8)
    assert all(mesh.detect(frame) for frame in frames)
