"""Valid clips that cases are made from: containers, codecs, and sound that is hard to carry over."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import imageio_ffmpeg

WIDTH, HEIGHT = 64, 48
_SOUND = ["-f", "lavfi", "-i", "sine=frequency=440:duration=0.4"]
_X264 = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "5", "-threads", "1"]
_AAC = ["-c:a", "aac", "-ac", "2"]
_TAGS = ["-metadata", "title=A title", "-metadata", "creation_time=2024-01-01T00:00:00Z"]
CLIPS: dict[str, list[str]] = {
    "plain.mp4": [*_X264, "-pix_fmt", "yuv420p", "-bf", "2", *_AAC, *_TAGS],
    "silent.mp4": [*_X264, "-pix_fmt", "yuv420p", "-an"],
    "fragments.mp4": [*_X264, "-pix_fmt", "yuv420p", *_AAC, "-movflags", "frag_keyframe+empty_moov"],
    "hevc.mp4": ["-c:v", "libx265", "-preset", "ultrafast", "-pix_fmt", "yuv420p10le"],
    "av1.mp4": ["-c:v", "libsvtav1", "-preset", "12", "-pix_fmt", "yuv420p"],
    "interlaced.mp4": [*_X264, "-pix_fmt", "yuv420p", "-flags", "+ilme+ildct", "-x264opts", "tff=1", *_AAC],
    "phone.3gp": ["-c:v", "mpeg4", "-pix_fmt", "yuv420p", "-an"],
    "prores.mov": ["-c:v", "prores_ks", "-c:a", "pcm_s16le", "-timecode", "01:00:00:00"],
    "mjpeg.mov": ["-c:v", "mjpeg", "-pix_fmt", "yuvj420p", "-c:a", "pcm_s24le"],
    "ffv1.mkv": ["-c:v", "ffv1", "-level", "3", "-c:a", "flac", *_TAGS],
    "h264.mkv": [*_X264, "-pix_fmt", "yuv444p", "-c:a", "libopus"],
    "vp9.webm": ["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-c:a", "libopus"],
    "vp8.webm": ["-c:v", "libvpx", "-deadline", "realtime", "-c:a", "libvorbis"],
    "loop.gif": ["-an", "-vf", "fps=10,split[a][b];[a]palettegen[p];[b][p]paletteuse"],
    "mpeg4.avi": ["-c:v", "mpeg4", "-q:v", "3", "-c:a", "libmp3lame"],
    "raw.avi": ["-c:v", "rawvideo", "-pix_fmt", "bgr24", "-an"],
    "huff.avi": ["-c:v", "ffvhuff", "-c:a", "pcm_s16le"],
    "h264.ts": [*_X264, "-pix_fmt", "yuv420p", *_AAC],
    "mpeg2.ts": ["-c:v", "mpeg2video", "-c:a", "mp2"],
    "mpeg2.mpg": ["-c:v", "mpeg2video", "-c:a", "mp2", "-f", "vob"],
    "mpeg1.mpg": ["-c:v", "mpeg1video", "-c:a", "mp2"],
    "sorenson.flv": ["-c:v", "flv", "-c:a", "libmp3lame", "-ar", "44100"],
    "h264.flv": [*_X264, "-pix_fmt", "yuv420p", *_AAC],
    "theora.ogg": ["-c:v", "libtheora", "-c:a", "libvorbis"],
    "windows.wmv": ["-c:v", "wmv2", "-c:a", "wmav2"],
    "tape.mxf": ["-c:v", "mpeg2video", "-c:a", "pcm_s16le", "-ar", "48000"],
    "any.nut": ["-c:v", "ffv1", "-c:a", "pcm_s16le"],
    "raw.y4m": ["-pix_fmt", "yuv420p", "-an"],
    "raw.h264": [*_X264, "-pix_fmt", "yuv420p", "-an"],
    "moving.apng": ["-an", "-plays", "0"],
}  # fmt: skip
"""Clips by name, and how ffmpeg makes them."""
PICTURES: dict[str, list[str]] = {
    "one.png": [],
    "deep.png": ["-pix_fmt", "rgba64be"],
    "one.jpg": [],
    "one.tiff": [],
    "deep.tiff": ["-pix_fmt", "rgb48le"],
    "one.webp": [],
    "one.avif": ["-c:v", "libsvtav1", "-preset", "12", "-pix_fmt", "yuv420p"],
}
"""Clips of one picture."""
_STILL = ["-an", "-frames:v", "1"]
_MOVING = ["-an", "-c:v", "libwebp_anim", "-loop", "0"]
_PCM = ["-c:v", "mjpeg", "-pix_fmt", "yuvj420p", "-c:a", "pcm_s16le"]
SOUNDS: dict[str, list[str]] = {
    "channels8.mov": [*_PCM, "-ac", "8"],
    "channels7.mov": [*_PCM, "-af", "aformat=channel_layouts=6.1"],
    "channels16.mov": [*_PCM, "-af", "aformat=channel_layouts=hexadecagonal"],
    "quad.mov": [*_PCM, "-af", "aformat=channel_layouts=quad"],
    "low.mov": [*_PCM, "-af", "aformat=channel_layouts=2.1"],
    "law.mov": [*_PCM[:-1], "pcm_mulaw", "-ar", "8000"],
    "alac.mov": [*_PCM[:-1], "alac"],
    "ima.mov": [*_PCM[:-1], "adpcm_ima_qt"],
    "channels6.mkv": [*_X264, "-c:a", "libopus", "-ac", "6"],
    "float.mkv": [*_X264, "-c:a", "pcm_f32le"],
    "flac.mp4": [*_X264, "-c:a", "flac", "-strict", "-2"],
    "dolby.ts": [*_X264, "-c:a", "ac3", "-ac", "6"],
    "dolby.mp4": [*_X264, "-c:a", "eac3"],
    "adpcm.avi": ["-c:v", "mpeg4", "-c:a", "adpcm_ms"],
    "every.mp4": [*_X264, *_AAC, "-movflags", "frag_every_frame+empty_moov+default_base_moof"],
    "back.mkv": [*_X264, *_AAC, "-bsf:a", r"setts=ts=max(0\,TS-60*eq(mod(N\,4)\,3))"],
    "again.mkv": [*_X264, *_AAC, "-bsf:a", r"setts=ts=if(eq(mod(N\,5)\,4)\,PREV_OUTPTS\,TS)"],
    "late.mp4": [*_X264, *_AAC, "-bsf:a", "setts=ts=TS+20000"],
}
"""Clips whose sound is hard to carry over, by name."""


def ffmpeg(*words: str | Path) -> bool:
    """Run ffmpeg; whether it could do it."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-hide_banner", "-loglevel", "error", "-y"]
    command += [str(word) for word in words]
    return subprocess.run(command, check=False, stderr=subprocess.DEVNULL).returncode == 0


def clips(folder: Path) -> None:
    """One of each container and codec; what this ffmpeg cannot make is left out."""
    _make(folder, CLIPS | {"moving.webp": _MOVING})
    _make(folder, {name: [*_STILL, *words] for name, words in PICTURES.items()})
    _sequence(folder)
    _with_tracks(folder)


def sound_clips(folder: Path) -> None:
    """The clips with sound, and those whose sound is hard to carry over."""
    silent = ("hevc.mp4", "av1.mp4")
    _make(folder, {k: v for k, v in CLIPS.items() if "-an" not in v and k not in silent} | SOUNDS)
    _with_tracks(folder)
    source = folder / "plain.mp4" / "inputs" / "main.mp4"
    for name in ("begun.mp4", "joined.ts"):
        (folder / name / "inputs").mkdir(parents=True)
    ffmpeg("-ss", "0.15", "-i", source, "-c", "copy", folder / "begun.mp4" / "inputs" / "main.mp4")
    twice = (folder / "h264.ts" / "inputs" / "main.ts").read_bytes() * 2
    (folder / "joined.ts" / "inputs" / "main.ts").write_bytes(twice)


def _make(folder: Path, clips: dict[str, list[str]]) -> None:
    soft = "gblur=2,hue=s=0.3"  # so that readers agree on the colours
    picture = ["-f", "lavfi", "-i", f"testsrc2=size={WIDTH}x{HEIGHT}:rate=25:duration=0.4,{soft}"]
    for name, words in clips.items():
        made = folder / name / "inputs"
        made.mkdir(parents=True)
        flags = ["-fflags", "+bitexact", "-flags:v", "+bitexact", "-shortest"]
        if not ffmpeg(*picture, *_SOUND, *words, *flags, made / f"main{Path(name).suffix}"):
            shutil.rmtree(folder / name)


def _sequence(folder: Path) -> None:
    """A folder of three pictures."""
    made = folder / "sequence" / "inputs" / "main"
    made.mkdir(parents=True)
    ffmpeg("-f", "lavfi", "-i", f"testsrc2=size={WIDTH}x{HEIGHT}:duration=0.12", made / "%03d.png")


def _with_tracks(folder: Path) -> None:
    """Two tracks of sound, subtitles and a chapter."""
    source = folder / "plain.mp4" / "inputs" / "main.mp4"
    chapters = folder / "chapters.txt"
    chapters.write_text(";FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=200\ntitle=First\n")
    words = ["1", "00:00:00,000 --> 00:00:00,300", "Hello", ""]
    subtitles = folder / "words.srt"
    subtitles.write_text("\n".join(words))
    for name, kind in (("tracks.mkv", "srt"), ("tracks.mp4", "mov_text")):
        made = folder / name / "inputs"
        made.mkdir(parents=True)
        maps = [word for number in ["0:v", "0:a", "0:a", "1:s"] for word in ("-map", number)]
        extra = ["-map_metadata", "2", "-c", "copy", "-c:s", kind, "-metadata:s:a:1", "language=fra"]
        extra += ["-fflags", "+bitexact"]
        if not ffmpeg(
            "-i", source, "-i", subtitles, "-i", chapters, *maps, *extra, made / f"main{Path(name).suffix}"
        ):
            shutil.rmtree(folder / name)
    chapters.unlink()
    subtitles.unlink()
