"""Clips of more than 8 bits, of high dynamic range, full range and alpha: what is not edited stays."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.clip import Clip, Crops
from pipeline.errors import InputVideoError, UserError
from pipeline.request.checks import with_codec
from pipeline.request.settings import CompositeSettings, DecodeSettings, EncodeSettings, Settings
from pipeline.stages.clip_checks import check_clip, clip_notes
from pipeline.stages.composite import Overlays, composited
from pipeline.stages.decode import decode
from pipeline.stages.encode import encode
from pipeline.video.codecs import suffix_for
from pipeline.video.planes import rgb_of, to_layout
from pipeline.video.reader import view_of
from tests.pipeline.video.media import ffmpeg

SIZE = (96, 64)
COUNT = 3
_HDR = (
    "zscale=matrixin=bt709:transferin=bt709:primariesin=bt709:rangein=limited:"
    "primaries=bt2020:matrix=bt2020nc"
)
PQ_DISPLAY = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"


def pictures(folder: Path) -> Path:
    """Smooth pictures with grain, as a lossless film of 8 bits, BT.709."""
    y, x = np.mgrid[: SIZE[1], : SIZE[0]] / SIZE[1]
    rng = np.random.default_rng(0)
    (folder / "plates").mkdir()
    for index in range(COUNT):
        base = np.stack([0.3 + 0.3 * np.sin(3 * x + index), 0.4 + 0.2 * np.cos(4 * y), 0.5 - 0.2 * x], -1)
        levels = np.clip(255 * base + rng.normal(0, 2, base.shape), 16, 235).astype(np.uint8)
        levels[:6, :20] = 235  # white, by which SDR in an HDR signal is told
        cv2.imwrite(str(folder / "plates" / f"{index:03d}.png"), levels[..., ::-1])
    path = folder / "sdr.mkv"
    scale = "scale=out_color_matrix=bt709:out_range=tv:flags=accurate_rnd,format=yuv420p"
    tags = ("-colorspace", "bt709", "-color_trc", "bt709", "-color_primaries", "bt709", "-color_range", "tv")
    ffmpeg(
        "-framerate", "10", "-i", folder / "plates" / "%03d.png", "-vf", scale, *tags, "-c:v", "ffv1", path
    )
    return path


def clip_with(folder: Path, name: str) -> Path:
    """A film of the same pictures: `pq`, `hlg`, `full`, `alpha`, `ten`, `twelve`, `rgb16`."""
    source = pictures(folder)
    video = folder / f"{name}.mkv"
    x265 = ["-c:v", "libx265", "-x265-params"]
    lossless = "log-level=error:lossless=1"
    how = {
        "pq": ("mp4", f"{_HDR}:transfer=smpte2084:npl=203,format=yuv420p10le",
               [*x265, f"{lossless}:master-display={PQ_DISPLAY}:max-cll=1000,400"]),
        "hlg": ("mp4", f"{_HDR}:transfer=arib-std-b67:npl=203,format=yuv420p10le", [*x265, lossless]),
        "full": ("mp4", "scale=in_range=tv:out_range=pc:flags=accurate_rnd,format=yuv420p",
                 ["-c:v", "libx264", "-qp", "0", "-color_range", "pc"]),
        "hlg8": ("mp4", f"{_HDR}:transfer=arib-std-b67:npl=203,format=yuv420p",
                 ["-c:v", "libx264", "-qp", "0"]),
        "ten": ("mp4", "format=yuv422p10le", ["-c:v", "libx264", "-qp", "0"]),
        "twelve": ("mkv", "format=yuv444p12le", ["-c:v", "ffv1"]),
        "rgb16": ("mkv", "format=gbrp16le", ["-c:v", "ffv1"]),
        "alpha": ("mov", "format=yuva444p10le,geq=lum='p(X,Y)':cb='p(X,Y)':cr='p(X,Y)':a='X*10'",
                  ["-c:v", "prores_ks", "-profile:v", "4444"]),
        "vp9": ("webm", "format=yuva420p,geq=lum='p(X,Y)':cb='p(X,Y)':cr='p(X,Y)':a='X*2'",
                ["-c:v", "libvpx-vp9", "-lossless", "1"]),
    }  # fmt: skip
    suffix, filters, words = how[name]
    video = folder / f"{name}.{suffix}"
    ffmpeg("-i", source, "-vf", filters, *words, video)
    return video


def read(path: Path, **knobs) -> Clip:
    return decode(path, DecodeSettings(**knobs), path.parent / "work")


def written(clip: Clip, path: Path, codec: str, frames=None, **knobs):
    settings = EncodeSettings(codec=codec, **knobs)
    return encode(clip.deep.planes() if frames is None else frames, clip, path, settings, "x")


def largest(a, b) -> int:
    """The largest difference of two frames' samples, those of `a` in the layout of `b`."""
    a = to_layout(a, b.layout)
    pairs = [*zip(a.samples, b.samples), *([(a.alpha, b.alpha)] if b.alpha is not None else [])]
    return max(int(np.abs(x.astype(int) - y).max()) for x, y in pairs)


def overlays(clip: Clip, level: int = 200) -> Overlays:
    """A grey square in the middle of every frame but the last."""
    affine = np.array([[[1.0, 0, -32.0], [0, 1.0, -16.0]]] * COUNT)
    rendered = np.full((COUNT, 32, 32, 3), level, np.uint8)
    masks = np.zeros((COUNT, 32, 32), np.uint8)
    masks[:, 6:26, 6:26] = 128
    masks[:, 8:24, 8:24] = 255
    return Overlays(
        Crops(affine, 32), rendered, {0: 0, 1: 1}, masks, CompositeSettings(), (clip.width, clip.height)
    )


LOSSLESS = {"hevc": {"quality": 0}, "h264": {"quality": 0}, "vp9": {"quality": 0}, "ffv1": {}}


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("hlg8", "h264"),
        ("pq", "hevc"), ("hlg", "hevc"), ("hlg", "h264"), ("pq", "ffv1"), ("full", "h264"), ("full", "hevc"),
        ("ten", "hevc"), ("ten", "h264"), ("ten", "ffv1"), ("twelve", "hevc"), ("twelve", "ffv1"),
        ("rgb16", "ffv1"), ("alpha", "ffv1"), ("vp9", "ffv1"),
        ("vp9", "vp9"), ("full", "vp9"), ("pq", "vp9"), ("hlg8", "vp9"), ("ten", "vp9"), ("twelve", "vp9"),
    ],
)  # fmt: skip
def test_pixels_that_are_not_edited_keep_every_bit(tmp_path, name, codec):
    clip = read(clip_with(tmp_path, name))
    mixed = [frame for _, frame, _ in composited([overlays(clip)], clip)]
    path = tmp_path / f"out{suffix_for(codec)}"
    written(clip, path, codec, iter(mixed), **LOSSLESS[codec])
    copy = read(path)
    assert copy.deep.layout.bits == clip.deep.layout.bits
    assert (copy.deep.layout.columns, copy.deep.layout.rows) == (
        clip.deep.layout.columns,
        clip.deep.layout.rows,
    )
    kept = ("matrix", "primaries", "transfer", *(("mastering", "light") if codec in ("h264", "hevc") else ()))
    assert all(copy.color.get(tag) == clip.color.get(tag) for tag in kept)
    assert copy.color["range"] == clip.color["range"] or codec == "h264"
    for before, after in zip(clip.deep.planes(), copy.deep.planes(), strict=True):
        for old, new in zip(before.samples, after.samples):
            changed = np.argwhere(old != new)
            step = np.array(old.shape) / SIZE[::-1]
            low, high = np.array([16 + 6, 32 + 6]) * step - 1, np.array([16 + 26, 32 + 26]) * step
            assert ((changed >= np.floor(low)) & (changed <= high)).all()
        if before.alpha is not None:
            np.testing.assert_array_equal(before.alpha, after.alpha)
    assert largest(list(clip.deep.planes())[-1], list(copy.deep.planes())[-1]) == 0


@pytest.mark.parametrize("name", ["pq", "hlg", "hlg8"])
def test_high_dynamic_range_is_edited_as_sdr_is(tmp_path, name):
    clip = read(clip_with(tmp_path, name))
    sdr = read(tmp_path / "sdr.mkv")
    for (source, deep, _), (_, plain, found) in zip(
        composited([overlays(clip)], clip), composited([overlays(sdr)], sdr)
    ):
        seen = view_of(deep, clip.deep.tone).astype(int)
        before = view_of(source, clip.deep.tone).astype(int)
        inner = (slice(16 + 12, 16 + 20), slice(32 + 12, 32 + 20))
        if found:
            assert np.abs(seen[inner] - 200).max() <= 2
        else:
            np.testing.assert_array_equal(seen, before)
        assert np.abs(seen - plain).mean() < 3


@pytest.mark.parametrize("transfer", ["smpte2084", "arib-std-b67"])
@pytest.mark.parametrize("white", [100, 203])
def test_tone_map_takes_back_what_made_the_clip(tmp_path, transfer, white):
    source = pictures(tmp_path)
    path = tmp_path / "hdr.mkv"
    filters = f"{_HDR}:transfer={transfer}:npl={white},format=yuv420p10le"
    ffmpeg("-i", source, "-vf", filters, "-c:v", "ffv1", path)
    sdr = [frame.astype(int) for frame in read(source).frames()]
    clip, filtered = read(path), read(path, ingest="tonemap")
    assert clip.deep.tone is not None and filtered.color["transfer"] == 1
    for wanted, seen, copied in zip(sdr, clip.frames(), filtered.frames(), strict=True):
        assert np.abs(seen - wanted).mean() < 3
        assert np.abs(copied - wanted).mean() < 3


@pytest.mark.parametrize("matrix", ["bt709", "smpte170m"])
def test_full_range_does_not_shift(tmp_path, matrix):
    source, path = pictures(tmp_path), tmp_path / "full.mp4"
    scale = f"scale=in_range=tv:out_range=pc:out_color_matrix={matrix}:flags=accurate_rnd,format=yuv420p"
    tags = ("-color_range", "pc", "-colorspace", matrix)
    ffmpeg("-i", source, "-vf", scale, "-c:v", "libx264", "-qp", "0", *tags, path)
    clip = read(path)
    written(clip, tmp_path / "out.mp4", "h264", quality=0)
    for before, after in zip(clip.frames(), read(tmp_path / "out.mp4").frames(), strict=True):
        np.testing.assert_array_equal(before, after)
    written(clip, tmp_path / "out.mp4", "h264", clip.frames(), quality=0)  # as crops are, from 8-bit RGB
    for before, after in zip(clip.frames(), read(tmp_path / "out.mp4").deep.planes(), strict=True):
        assert np.abs((255 * rgb_of(after) - before).mean(axis=(0, 1))).max() < 0.1


def test_alpha_stays_or_the_result_is_on_black(tmp_path):
    clip = read(clip_with(tmp_path, "alpha"))
    hidden = next(clip.frames())[:, 0]
    assert hidden.max() == 0  # nothing of what is transparent shows
    result = written(clip, tmp_path / "out.mov", "prores")
    copy = read(result.path)
    for before, after in zip(clip.deep.planes(), copy.deep.planes(), strict=True):
        np.testing.assert_array_equal(before.alpha, after.alpha)
    opaque = written(clip, tmp_path / "out.mp4", "h264", quality=0)
    (note,) = clip_notes(clip, Settings(encode=EncodeSettings(codec="h264")))
    assert "h264 holds no alpha, so the results are on black; --codec prores, ffv1, png, tiff keep" in note
    (note,) = clip_notes(clip, Settings(encode=EncodeSettings(codec="vp9")))
    assert "vp9 holds no alpha beyond 8 bits" in note
    assert not clip_notes(clip, Settings(encode=EncodeSettings(codec="prores")))
    for before, after in zip(clip.frames(), read(opaque.path).frames(), strict=True):
        assert np.abs(before.astype(int) - after).max() <= 3


def test_an_edit_over_something_half_transparent_is_what_is_seen(tmp_path):
    clip = read(clip_with(tmp_path, "alpha"))
    _, frame, _ = next(composited([overlays(clip, level=90)], clip))
    opacity = frame.alpha[32, 48] / frame.layout.top
    assert 0.3 < opacity < 0.6
    assert np.abs(view_of(frame, None)[32, 48].astype(int) - 90).max() <= 2


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("ten", "hevc"),
        ("twelve", "hevc"),
        ("rgb16", "ffv1"),
        ("alpha", "prores"),
        ("vp9", "prores"),
        ("full", "h264"),
    ],
)
def test_the_codec_holds_what_the_clip_has(tmp_path, name, codec):
    assert with_codec(Settings(), clip_with(tmp_path, name)).encode.codec == codec


@pytest.mark.parametrize("codec", ["jpeg", "webp", "avif"])
def test_a_codec_of_eight_bits_is_refused_with_those_that_have_more(tmp_path, codec):
    clip = read(clip_with(tmp_path, "ten"))
    with pytest.raises(UserError, match=f"--codec {codec} holds 8 bits.*has 10; give .*hevc.*png"):
        check_clip(clip, Settings(encode=EncodeSettings(codec=codec)))


def test_what_a_codec_takes_away_is_told(tmp_path):
    clip = read(clip_with(tmp_path, "rgb16"))
    notes = written(clip, tmp_path / "out.mov", "prores").notes
    assert any("16 bits a channel are written as 10" in note for note in notes)
    plain = read(tmp_path / "sdr.mkv")
    ffmpeg("-i", plain.path, "-pix_fmt", "yuv444p", "-c:v", "ffv1", tmp_path / "444.mkv")
    full = read(tmp_path / "444.mkv")
    notes = written(full, tmp_path / "out.mp4", "h264", full.frames()).notes
    assert any("4:2:0" in note and "4:4:4" in note for note in notes)


def test_crops_of_high_dynamic_range_say_that_they_are_sdr(tmp_path):
    clip = read(clip_with(tmp_path, "hlg"))
    crops = (frame[:32, :32].copy() for frame in clip.frames())
    copy = read(written(clip, tmp_path / "crops.mp4", "h264", crops).path)
    assert (copy.color["transfer"], copy.color["primaries"], copy.color["matrix"]) == (1, 1, 1)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((f"max-cll=400,1000:master-display={PQ_DISPLAY}", "smpte2084", "bt2020", "bt2020nc"), "MaxFALL"),
        (("max-cll=20000,400", "smpte2084", "bt2020", "bt2020nc"), "more than PQ can have"),
        (("hdr10=0", "arib-std-b67", "bt709", "bt2020nc"), "primaries 1 of SDR"),
        (("hdr10=0", "smpte2084", "bt2020", "bt709"), "matrix 1 of SDR"),
    ],
)  # fmt: skip
def test_metadata_that_contradict_each_other_are_refused(tmp_path, words, says):
    parameters, transfer, primaries, matrix = words
    path = tmp_path / "odd.mp4"
    tags = (
        f"setparams=color_trc={transfer}:color_primaries={primaries}:colorspace={matrix},format=yuv420p10le"
    )
    ffmpeg("-i", pictures(tmp_path), "-vf", tags, "-c:v", "libx265", "-x265-params",
           f"log-level=error:{parameters}", path)  # fmt: skip
    with pytest.raises(InputVideoError, match=says) as caught:
        read(path)
    assert "\n" not in str(caught.value)
