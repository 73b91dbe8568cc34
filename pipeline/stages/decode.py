"""Stage `decode`: a file becomes a Clip, with exact times and frames on demand."""

from __future__ import annotations

import hashlib
from fractions import Fraction
from pathlib import Path

import numpy as np

from pipeline.clip import Clip, FrameSource
from pipeline.errors import InputVideoError, UnknownNameError, UserError
from pipeline.request.settings import DecodeSettings, Settings
from pipeline.stages.clip_checks import UNKEYED, check_clip, clip_notes
from pipeline.stages.run import StageRun
from pipeline.stages.stage import Stage
from pipeline.video.codecs import suffix_for
from pipeline.video.container import open_video
from pipeline.video.ingest import filters_for, ingest, parse_ingest
from pipeline.video.picture_writer import is_picture_format
from pipeline.video.probe import OnFrame, probe
from pipeline.video.reader import AvSource
from pipeline.video.sequences import picture_clip, picture_files
from pipeline.video.tracks import side_tracks
from storage import file_hash


def decode(path: Path, settings: DecodeSettings, workdir: Path, on_frame: OnFrame | None = None) -> Clip:
    """Open a video: count and time its frames in one decoding pass, and hold none of them.

    With `settings.ingest`, the Clip is of the filtered lossless copy that is left in `workdir`, and its
    content hash is that of the original's hash and the filters; otherwise it is the SHA-256 of the file's
    bytes. Frame durations, rotation, colour tags and sound come from the same file. Raises InputVideoError
    (bad file) or UserError (settings).
    """
    if settings.reader not in ("av", "decord"):
        raise UnknownNameError(f"unknown reader '{settings.reader}'; known: av, decord")
    rate = None if settings.frame_rate is None else Fraction(settings.frame_rate)
    if (files := picture_files(path)) is not None:
        if settings.ingest or settings.reader != "av":
            raise UserError(f"{path}: is no video; --ingest and --reader do not apply to pictures")
        return picture_clip(path, files, rate, settings.max_frames)
    open_video(path).close()  # a bad file is named before anything is hashed or filtered
    content_hash = file_hash(path)
    notes: tuple[str, ...] = ()
    if settings.ingest:
        filters = filters_for(path, settings.ingest)
        if len(filters) > len(parse_ingest(settings.ingest)):
            notes = ("the video is interlaced; it is deinterlaced before the other filters",)
        path = ingest(path, filters, workdir)
        content_hash = hashlib.sha256(f"{content_hash}:{filters}".encode()).hexdigest()
    found = probe(path, settings.max_frames, on_frame, rate)
    own = AvSource(path, found)
    source: FrameSource = own
    if settings.reader == "decord":
        from pipeline.video.decord_reader import DecordSource

        source = DecordSource(path, found, reference=own)
    width, height = found.size
    time_base = found.time_base
    return Clip(
        path=path,
        content_hash=content_hash,
        width=width,
        height=height,
        times=found.pts.astype(np.float64) * time_base.numerator / time_base.denominator,
        pts=found.pts,
        time_base=time_base,
        rate=found.rate,
        duration=float((found.end - int(found.pts[0])) * time_base),
        has_audio=found.has_audio,
        color=found.color,
        rotation=found.rotation,
        source=source,
        deep=None if found.layout is None else own,
        sample_aspect=found.sample_aspect,
        notes=(*notes, *found.notes),
        doubts=found.doubts,
        whole=found.whole,
        shifts=found.shifts,
    )


def load(run: StageRun) -> Clip:
    """Open the input, and check the request against it.

    Raises InputVideoError (bad file, or signs of damage with `strict`), UserError (as `check_clip`).
    """
    clip = decode(run.video, run.settings.decode, run.workdir, lambda done: run.count(done, None))
    if clip.path != run.video:
        run.hooks.hold(clip.path)
    if clip.doubts and run.settings.strict:
        raise InputVideoError(f"{run.video}: {'; '.join(clip.doubts)} (--strict)")
    check_clip(clip, run.settings)
    return clip


def notes(run: StageRun) -> tuple[str, ...]:
    """How the file was read, signs of damage, tracks that are not carried, and what changes nothing."""
    clip = run.hooks.value(NAME)
    tracks: tuple[str, ...] = ()
    if is_picture_format(run.settings.encode.codec):
        tracks = ("pictures carry no sound",) if clip.has_audio else ()
    elif clip.film:
        suffix = suffix_for(run.settings.encode.codec)
        tracks = side_tracks(clip.path, suffix, clip.shifts, clip.stop).notes
    return (*clip.notes, *clip.doubts, *tracks, *clip_notes(clip, run.settings))


NAME = "decode"
STAGE = Stage(
    NAME,
    version=3,
    load=load,
    reads=("decode",),
    unkeyed=("strict", *UNKEYED),
    facts=lambda facts: facts.content_hash,
    notes=notes,
    face=None,
)


def stages(settings: Settings) -> list[Stage[Clip]]:
    """The stage of every request."""
    return [STAGE]
