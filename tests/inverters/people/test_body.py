"""The baked mesh and the shapes of people."""

import dataclasses
import hashlib
import shutil

import pytest
import torch
from safetensors.numpy import load_file, save_file

from inverters.errors import CheckpointError
from inverters.people import body_file
from inverters.people.body import CENTRE, body, mean_values
from inverters.people.body_file import PARTS, PATH, load_body
from inverters.people.expressions import actions_of
from inverters.people.local_changes import LOCAL_CHANGES
from inverters.people.params import sample_scores, to_values
from inverters.people.subdivision import subdivide


def shape_of(**changes):
    values = mean_values(**changes)
    return body().shape(values, actions_of(values))


def test_the_packaged_file_is_that_of_this_version():
    assert hashlib.sha256(PATH.read_bytes()).hexdigest() == body_file.SHA256
    assert PATH.stat().st_size < 4_000_000
    file = load_body()
    assert len(file.actions.names) == 52
    assert {c.target for c in LOCAL_CHANGES} <= set(file.changes.names)


def test_a_changed_file_is_refused_by_name(tmp_path):
    copy = tmp_path / "people.safetensors"
    shutil.copy(PATH, copy)
    raw = bytearray(copy.read_bytes())
    raw[-1] ^= 1
    copy.write_bytes(raw)
    with pytest.raises(CheckpointError, match=r"people.safetensors has hash"):
        load_body(copy)


def test_files_of_another_format_damaged_or_missing_are_refused_by_name(tmp_path):
    other = tmp_path / "other.safetensors"
    save_file(load_file(PATH), other, {"format": "99"})
    with pytest.raises(CheckpointError, match=r"other.safetensors has format 99, not"):
        load_body(other, check=False)
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(PATH.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"cut.safetensors is damaged"):
        load_body(cut, check=False)
    with pytest.raises(CheckpointError, match="missing"):
        load_body(tmp_path / "none.safetensors")


def test_baking_needs_anny_and_says_so(tmp_path):
    try:
        import anny  # noqa: F401
    except ImportError:
        from inverters.people.bake import bake

        with pytest.raises(CheckpointError, match=r"pip install 'invid\[people\]'"):
            bake(tmp_path / "x.safetensors")
        assert not list(tmp_path.iterdir())
    else:
        pytest.skip("anny is installed")


@pytest.mark.filterwarnings("ignore:Sparse")
def test_a_subdivided_cube_is_round_and_closed():
    corners = torch.tensor([[x, y, z] for x in (-1.0, 1) for y in (-1.0, 1) for z in (-1.0, 1)])
    quads = torch.tensor([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]])
    once = subdivide(quads, 8)
    points = torch.sparse.mm(once.matrix, corners)
    assert points.shape == (8 + 12 + 6, 3)
    assert once.quads.shape == (24, 4)
    torch.testing.assert_close(torch.sparse.mm(once.matrix, torch.ones(8, 1)), torch.ones(26, 1))
    # A face's middle stays, a corner moves to 5/9 of its place: Catmull and Clark's weights for valence 3.
    torch.testing.assert_close(points[-6:].abs().max(1).values, torch.ones(6))
    torch.testing.assert_close(points[:8], corners * 5 / 9)


def test_the_eyes_stay_where_eg3d_has_them():
    for scores in sample_scores(6, torch.Generator().manual_seed(1)):
        values = to_values(scores[None])
        shape = body().shape(values, actions_of(values))
        assert shape.fine.isfinite().all()
        middle = [shape.coarse[body().part0 == PARTS.index(f"{s}_eye")].mean(0) for s in ("left", "right")]
        torch.testing.assert_close(sum(middle) / 2, torch.tensor(CENTRE), atol=0.004, rtol=0)


def test_expressions_move_the_face_and_not_the_head():
    rest, smiling = shape_of(), shape_of(smile=1.0)
    moved = (smiling.vertices - rest.vertices).norm(dim=1)
    canonical = body().level1.canonical
    assert moved[canonical[:, 1] > 0.15].max() < 1e-3
    lips = body().level1.mask("lips") > 0.5
    assert moved[lips].mean() > 0.01
    torch.testing.assert_close(smiling.neutral, rest.neutral)


def test_expressions_do_what_they_are_called():
    mesh = body()
    canonical, lips = mesh.level1.canonical, mesh.level1.mask("lips") > 0.5
    corners = lips & (canonical[:, 0].abs() > 0.05)
    lower = lips & (canonical[:, 1] < -0.13) & (canonical[:, 0].abs() < 0.02)
    rest = shape_of(smile=0.0).vertices
    assert shape_of(smile=1.0).vertices[corners, 1].mean() > rest[corners, 1].mean() + 0.01
    assert shape_of(mouth_open=1.0, smile=0.0).vertices[lower, 1].mean() < rest[lower, 1].mean() - 0.04
    front = (mesh.part0 == PARTS.index("left_eye")) & (mesh.canonical0[:, 2] > 0.18)
    assert shape_of(gaze_x=1.0).coarse[front, 0].mean() > shape_of(gaze_x=-1.0).coarse[front, 0].mean() + 0.01
    assert (
        shape_of(gaze_y=1.0).coarse[front, 1].mean() > shape_of(gaze_y=-1.0).coarse[front, 1].mean() + 0.005
    )


def test_a_face_action_is_named_and_bounded():
    values = to_values(3 * sample_scores(200, torch.Generator().manual_seed(2)))
    actions = actions_of(values)
    assert set(actions) <= set(load_body().actions.names)
    assert all(a.shape == (200,) and float(a.min()) >= 0 and float(a.max()) <= 1 for a in actions.values())


def test_people_of_other_numbers_have_other_heads():
    wide, narrow = shape_of(head_width=1.0), shape_of(head_width=-1.0)
    ears = body().level1.mask("ears") > 0.8
    assert wide.vertices[ears, 0].abs().mean() > narrow.vertices[ears, 0].abs().mean() + 0.003
    for field in dataclasses.fields(wide):
        assert field.name == "scale" or getattr(wide, field.name).isfinite().all()
