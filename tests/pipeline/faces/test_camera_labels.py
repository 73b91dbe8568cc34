"""EG3D's dataset.json: matching, checks, refusals."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from inverters.rendering.cameras import default_intrinsics, look_at, to_label
from pipeline.errors import UserError
from pipeline.faces.camera_labels import read_dataset_json
from tests.pipeline.faces.faces_data import real_file


def labels(count):
    poses = look_at(torch.linspace(-0.4, 0.4, count), torch.zeros(count))
    return to_label(poses, default_intrinsics()).tolist()


def write(path, entries):
    path.write_text(json.dumps({"labels": entries}))
    return path


@pytest.mark.parametrize("first", [0, 1])
def test_numbers_in_names_place_the_labels_whatever_their_order(tmp_path, first):
    rows = labels(5)
    entries = [[f"00000/frame{k + first:04d}.png", rows[k]] for k in (3, 0, 4, 1, 2)]
    cameras = read_dataset_json(write(tmp_path / "dataset.json", entries), 5)
    np.testing.assert_allclose(cameras.cam2world.reshape(5, 16), np.array(rows)[:, :16], atol=1e-6)
    assert cameras.intrinsics[0, 0, 0] == pytest.approx(4.2647)


def test_frames_without_a_label_are_nan(tmp_path):
    rows = labels(2)
    path = write(tmp_path / "d.json", [["frame0000.png", rows[0]], ["frame0003.png", rows[1]]])
    cameras = read_dataset_json(path, 5)
    np.testing.assert_array_equal(np.isfinite(cameras.cam2world[:, 0, 0]), [1, 0, 0, 1, 0])


def test_names_without_numbers_go_in_order_and_must_be_as_many(tmp_path):
    rows = labels(3)
    path = write(tmp_path / "d.json", [[name, row] for name, row in zip("abc", rows)])
    np.testing.assert_allclose(
        read_dataset_json(path, 3).cam2world.reshape(3, 16), np.array(rows)[:, :16], atol=1e-6
    )
    with pytest.raises(UserError, match="3 labels, the clip 4 frames"):
        read_dataset_json(path, 4)


def test_given_frame_names_decide(tmp_path):
    rows = labels(2)
    path = write(tmp_path / "d.json", [["b.jpg", rows[0]], ["a.jpg", rows[1]]])
    cameras = read_dataset_json(path, 2, ["a.png", "b.png"])
    np.testing.assert_allclose(cameras.cam2world[1].ravel(), rows[0][:16], atol=1e-6)
    with pytest.raises(UserError, match="belongs to no frame"):
        read_dataset_json(path, 2, ["a.png", "c.png"])


def test_mirrored_copies_are_left_out(tmp_path):
    rows = labels(2)
    entries = [[f"frame{k}{end}.png", rows[0 if end else k]] for k in range(2) for end in ("", "_mirror")]
    cameras = read_dataset_json(write(tmp_path / "d.json", entries), 2)
    np.testing.assert_allclose(cameras.cam2world[1].ravel(), rows[1][:16], atol=1e-6)


def test_mirrored_copies_alone_are_no_cameras(tmp_path):
    path = write(tmp_path / "d.json", [["frame0_mirror.png", labels(1)[0]]])
    with pytest.raises(UserError, match="0 labels, the clip 1 frames"):
        read_dataset_json(path, 1)


def test_raw_cameras_are_recognised_and_refused(tmp_path):
    raw = {
        "1.jpg": {"intrinsics": [[2985.29, 0, 512], [0, 2985.29, 512], [0, 0, 1]], "pose": np.eye(4).tolist()}
    }
    path = tmp_path / "cameras.json"
    path.write_text(json.dumps(raw))
    with pytest.raises(UserError, match="uncalibrated"):
        read_dataset_json(path, 1)


def test_pixel_intrinsics_and_non_rotations_are_refused(tmp_path):
    row = labels(1)[0]
    pixels = [*row[:16], 2985.29, 0, 512, 0, 2985.29, 512, 0, 0, 1]
    with pytest.raises(UserError, match="in pixels"):
        read_dataset_json(write(tmp_path / "p.json", [["a", pixels]]), 1)
    scaled = [2 * row[0], *row[1:]]
    with pytest.raises(UserError, match="no camera"):
        read_dataset_json(write(tmp_path / "s.json", [["a", scaled]]), 1)


@pytest.mark.parametrize(
    "text", ["", "not json", "[]", "{}", '{"labels": []}', '{"labels": [["a", [1, 2]]]}', '{"labels": [5]}']
)
def test_other_files_are_one_line_errors(tmp_path, text):
    path = tmp_path / "d.json"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        read_dataset_json(path, 1)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(UserError, match="cannot read"):
        read_dataset_json(tmp_path / "none.json", 1)


@pytest.mark.weights
def test_real_files_of_both_kinds():
    good = read_dataset_json(real_file("eg3d/crops/goae/label.json"), 14)
    found = np.isfinite(good.cam2world[:, 0, 0])
    assert found.sum() == 12
    radius = np.linalg.norm(good.cam2world[found, :3, 3], axis=1)
    np.testing.assert_allclose(radius, 2.7, atol=1e-3)
    with pytest.raises(UserError, match="uncalibrated"):
        read_dataset_json(real_file("eg3d/crops/goae/cameras.json"), 14)
