"""Layers: the source with the layer over it is the finished frame, and nothing lies where nothing changes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from pipeline.errors import UserError
from pipeline.pictures import soft_mask
from pipeline.request.checks import check_request
from pipeline.request.occluder_masks import FACES, FrameMasks, mask_files, match_masks
from pipeline.request.options import parse
from pipeline.request.settings import CompositeSettings, Settings
from pipeline.stages.composite import Overlays, composited, overlay_of
from pipeline.stages.layers import layer_of, mask_of
from pipeline.video.picture_writer import write_grey, write_layer
from pipeline.video.pictures import read_picture
from pipeline.video.planes import over_black, to_layout
from pipeline.video.reader import signal_of
from tests.pipeline.stages.test_depth import clip_with, overlays, pictures, read

STILL = np.array([[1.0, 0, 0], [0, 1.0, 0]])


def laid_over(source: np.ndarray, layer) -> np.ndarray:
    """`source` [H,W,3] in [0,1] under a layer."""
    alpha = layer.alpha[..., None] / 65535.0
    colour = np.stack(layer.samples, -1) / 65535.0
    return source + alpha * (colour - source)


@settings(max_examples=60)
@given(
    frame=npst.arrays(np.uint8, (12, 10, 3)),
    picture=npst.arrays(np.uint8, (8, 8, 3)),
    plain=npst.arrays(np.uint8, (8, 8, 3)) | st.none(),
    mask=npst.arrays(np.uint8, (8, 8)),
    shift=st.tuples(st.floats(-6, 6), st.floats(-6, 6)),
)
def test_source_and_layer_are_the_finished_frame(frame, picture, plain, mask, shift):
    affine = STILL + np.array([[0, 0, shift[0]], [0, 0, shift[1]]])
    overlay = overlay_of(picture, mask, affine, 8, (10, 12), plain)
    finished = frame if overlay is None else overlay.over(frame)
    layer = layer_of(frame, finished, [] if overlay is None else [overlay])
    seen = laid_over(frame / 255.0, layer)
    assert np.abs(255 * seen - finished).max() <= 0.05
    outside = np.ones(frame.shape[:2], bool)
    if overlay is not None:
        x0, y0, x1, y1 = overlay.box
        outside[y0:y1, x0:x1] = ~overlay.inside
    assert (layer.alpha[outside] == 0).all()


@pytest.mark.parametrize("name", ["ten", "pq", "rgb16", "twelve", "alpha", "full"])
def test_layers_of_deep_clips(tmp_path, name):
    clip = read(clip_with(tmp_path, name))
    faces = 0
    for source, finished, found in composited([overlays(clip)], clip):
        layer = layer_of(source, finished, found)
        faces += len(found)
        if not found:
            assert not layer.alpha.any()
        before, after = (signal_of(over_black(frame)) for frame in (source, finished))
        assert 255 * np.abs(laid_over(before, layer) - after).max() <= 1
    assert faces == 2


def test_layers_are_read_back_as_they_were_written(tmp_path):
    clip = read(clip_with(tmp_path, "pq"))
    source, finished, overlay = next(composited([overlays(clip)], clip))
    layer = layer_of(source, finished, overlay)
    write_layer(tmp_path / "a.png", layer, clip, "x")
    assert b"cICP" + bytes((9, 16, 0, 1)) in (tmp_path / "a.png").read_bytes()
    found = read_picture(tmp_path / "a.png")
    np.testing.assert_array_equal(found.alpha, layer.alpha)
    np.testing.assert_array_equal(found.pixels, np.stack(layer.samples, -1))


def test_a_film_of_a_layer_keeps_its_alpha(tmp_path):
    from pipeline.request.settings import EncodeSettings
    from pipeline.stages.encode import encode

    clip = read(clip_with(tmp_path, "ten"))
    made = list(composited([overlays(clip)], clip))
    layers = [layer_of(*three) for three in made]
    for codec, name, most in (("prores", "a.mov", 4.0), ("ffv1", "a.mkv", 0.02)):
        encode(iter(layers), clip, tmp_path / name, EncodeSettings(codec=codec), "x")
        copy = read(tmp_path / name)
        for (source, finished, _), layer, seen in zip(made, layers, copy.deep.planes(), strict=True):
            seen = to_layout(seen, layer.layout)
            assert np.abs(seen.alpha / 65535 - layer.alpha / 65535).max() < 1 / 1000
            assert (seen.alpha[layer.alpha == 0] == 0).all()
            before, after = signal_of(source), signal_of(finished)
            assert 255 * np.abs(laid_over(before, seen) - after).mean() <= most / 4


def by_hand(clip, masks) -> Overlays:
    made = overlays(clip)
    return Overlays(
        made.crops, made.rendered, made.rows, made.masks, CompositeSettings(), made.size, by_hand=masks
    )


def test_masks_handed_back_unchanged_change_nothing(tmp_path):
    clip = read(pictures(tmp_path))
    folder = tmp_path / "masks"
    folder.mkdir()
    finished = []
    for index, (_, frame, overlay) in enumerate(composited([overlays(clip)], clip)):
        write_grey(folder / f"edited_mask.{index:05d}.png", mask_of(overlay, (clip.width, clip.height)))
        finished.append(frame)
    masks = FrameMasks(folder, match_masks(folder, np.arange(2), len(clip), 96, 64, FACES))
    for (_, again, _), frame in zip(composited([by_hand(clip, masks)], clip), finished, strict=True):
        assert np.abs(again.astype(int) - frame).max() <= 1


def test_a_mask_by_hand_says_where_the_edit_is_shown(tmp_path):
    clip = read(pictures(tmp_path))
    mask = np.zeros((64, 96), np.float32)
    mask[20:24, 40:60], mask[:16] = 1.0, 1.0  # the latter lies outside the crop
    source, frame, _ = next(composited([by_hand(clip, [mask, mask])], clip))
    changed = (frame != source).any(axis=-1)
    assert (frame[20:24, 40:60] == 200).all()
    changed[20:24, 40:60] = False
    assert not changed.any()


def test_face_masks_are_found_in_a_folder_of_results(tmp_path):
    for name in ("edited_layer", "edited_mask", "occluder_matte"):
        for index in range(2):
            write_grey(tmp_path / f"{name}.{index:05d}.png", np.zeros((4, 6), np.uint8))
    assert [path.name for path in mask_files(tmp_path, FACES)] == [
        "edited_mask.00000.png",
        "edited_mask.00001.png",
    ]
    write_grey(tmp_path / "removal_mask.00000.png", np.zeros((4, 6), np.uint8))
    with pytest.raises(UserError, match=r"--face-masks .* masks of edited and removal"):
        mask_files(tmp_path, FACES)


def test_masks_have_the_numbers_of_the_clips_pictures(tmp_path):
    for number in (1001, 1002, 1004):
        write_grey(tmp_path / f"m.{number}.png", np.zeros((4, 6), np.uint8))
    found = match_masks(tmp_path, np.arange(3), 3, 6, 4, FACES, [1001, 1002, 1004])
    assert [path.name for path in found] == ["m.1001.png", "m.1002.png", "m.1004.png"]
    with pytest.raises(UserError, match=r"--face-masks .*3 masks do not match the video's 3 frames"):
        match_masks(tmp_path, np.arange(3), 3, 6, 4, FACES)
    with pytest.raises(UserError, match=r"--face-masks .*6 x 4 pixels, but the video is 8 x 4"):
        match_masks(tmp_path, np.arange(3), 3, 8, 4, FACES, [1001, 1002, 1004])


@pytest.mark.parametrize("depth", ["uint8", "uint16"])
def test_soft_masks_keep_their_greys(tmp_path, depth):
    import cv2

    top = np.iinfo(depth).max
    values = np.array([[0, top // 4, top // 2, top]], depth)
    cv2.imwrite(str(tmp_path / "m.png"), values)
    np.testing.assert_allclose(soft_mask(tmp_path / "m.png"), values / top, atol=1e-6)


@pytest.mark.parametrize("codec", ["h264", "hevc", "jpeg"])
def test_a_codec_without_alpha_is_refused_for_layers(codec):
    with pytest.raises(UserError, match=f"--layers {codec}: cannot hold alpha.*png, prores, ffv1"):
        parse(["clip.mp4", f"--layers={codec}"])
    assert parse(["clip.mp4", "--layers"]).settings.encode.layers == "png"
    assert parse(["--layers", "clip.mp4"]).settings.encode.layers == "png"
    assert parse(["--layers", "prores", "clip.mp4"]).settings.encode.layers == "prores"


def test_results_do_not_go_among_the_masks(tmp_path):
    write_grey(tmp_path / "edited_mask.00000.png", np.zeros((4, 6), np.uint8))
    settings = Settings(composite=CompositeSettings(face_masks=str(tmp_path)))
    with pytest.raises(UserError, match="folder of the face masks"):
        check_request(pictures(tmp_path), tmp_path, settings)
