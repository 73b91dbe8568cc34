"""Stage `encode`: frames become files with the source's times, size and sound."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.clip import U8, Clip
from pipeline.request.settings import DecodeSettings, EncodeSettings, Settings
from pipeline.stages import decode, inset, track
from pipeline.stages.composite import Frame, composited, full_frame_variants
from pipeline.stages.edit import Variant, images_in, settings_of, variant_of
from pipeline.stages.facts import Facts, no_facts
from pipeline.stages.overlays import (
    comment_of_faces,
    images_of,
    overlay_facts,
    overlay_needs,
    overlay_reads,
    overlays_of_faces,
    row_of_frame,
    shown_images,
)
from pipeline.stages.panels import describe, held_rows, panel_frames, panel_labels, row_images
from pipeline.stages.run import StageRun
from pipeline.stages.stage import Stage
from pipeline.video.aspect import all_squared
from pipeline.video.codecs import suffix_for
from pipeline.video.picture_writer import is_picture_format, picture_names, write_pictures
from pipeline.video.planes import Planes
from pipeline.video.probe import OnFrame
from pipeline.video.sequences import PictureSource
from pipeline.video.side_by_side import side_by_side
from pipeline.video.writer import VideoWriter, size_of

CROPS, COMPARISON = "crops", "comparison"


@dataclass(frozen=True)
class EncodedFile:
    """A file that was written: its number of frames, and notes on what differs from the source."""

    path: Path
    frames: int
    notes: tuple[str, ...]


def encode(
    frames: Iterable[Frame],
    clip: Clip,
    path: Path,
    settings: EncodeSettings,
    comment: str,
    indices: Sequence[int] | None = None,
    on_frame: OnFrame | None = None,
) -> EncodedFile:
    """Write frames (uint8 [H,W,3] RGB or Planes, any one size) to `path` at the clip's times, with its sound.

    frames: as many as the clip has, or as `indices` (source frame numbers, increasing) where only some are
    written. comment: what the file's metadata says, such as that it was edited, and with what. The ending of
    `path` chooses the container. Raises OutputError (not writable, disk full), UserError (codec unknown or
    not for this ending), ValueError (another number or size of frames). On any error, Ctrl-C too, no file is
    left.
    """
    source = iter(frames)
    first = next(source, None)
    if first is None:
        raise ValueError("there are no frames to write")
    layout = first.layout if isinstance(first, Planes) else None
    with VideoWriter(path, clip, size_of(first), settings, comment, indices, layout) as writer:
        writer.write(first)
        if on_frame is not None:
            on_frame(writer.written)
        for frame in source:
            writer.write(frame)
            if on_frame is not None:
                on_frame(writer.written)
    return EncodedFile(path, writer.written, tuple(writer.notes))


def _write(
    run: StageRun,
    frames: Iterable[Frame],
    comment: str,
    indices: list[int] | None = None,
    codec: str | None = None,
) -> None:
    """The files of one output; `codec` replaces the one asked for, with its default quality."""
    clip, asked = run.of(decode.STAGE), run.settings.encode
    total = len(clip) if indices is None else len(indices)
    chosen, quality = (codec, None) if codec else (asked.codec, asked.quality)
    stem, suffix = Path(run.part).stem, suffix_for(chosen)
    on_frame = partial(run.count, total=total)
    if is_picture_format(chosen):
        names = picture_names(clip, stem, suffix, indices)
        notes: Sequence[str] = ()
        write_pictures(frames, clip, names, run.writer.file, chosen, comment, quality, indices, on_frame)
    else:
        names = [f"{stem}{suffix}"]
        settings = EncodeSettings(codec=chosen, quality=quality, keep_location=asked.keep_location)
        notes = encode(frames, clip, run.writer.file(names[0]), settings, comment, indices, on_frame).notes
    run.writer.meta |= {"names": names, "notes": list(notes)}


def _comment(run: StageRun, variant: Variant) -> str:
    return describe(variant, run.models.generator.card.name, run.settings.invert.method)


def compute_frames(run: StageRun) -> None:
    """Write the source's frames with one variant of every face, or the turned head, in them."""
    name = Path(run.part).stem
    faces = overlays_of_faces(run, name)
    frames = (frame for _, frame, _ in composited(faces, run.of(decode.STAGE)))
    _write(run, run.timed_as("composite", frames), comment_of_faces(run, name))


def compute_crops(run: StageRun) -> None:
    """Write the crops of one variant, at the times of the frames with a face."""
    name = Path(run.part).stem
    shown = name if name == "view" else _variant_of_crops(run.settings)
    frames = [int(frame) for frame in run.of(track.STAGE).usable]
    comment = _comment(run, variant_of(shown, run.settings.edit))
    _write(run, row_images(images_of(run, shown)), comment, frames)


def compute_comparison(run: StageRun) -> None:
    """Write source and outputs beside each other; the outputs are read back from their files."""
    clip, row_of = run.of(decode.STAGE), row_of_frame(run)
    files = [name for name in run.needs if name.startswith("encode/")]
    labels = panel_labels(run.settings.edit)
    streams: list[Iterable[U8]] = [panel_frames(clip, len(files) + 1)]
    for name in files:
        if Path(name.partition("/")[2]).stem == "view":
            streams.append(held_rows(images_in(run, "edit/view"), row_of, len(clip)))
        else:
            streams.append(_written_frames(run, name))
    names = ["source", *(Path(name.partition("/")[2]).stem for name in files)]
    frames = side_by_side(streams, [labels[name] for name in names])
    single = clip.pictures and len(clip) == 1
    _write(run, frames, "Edited with Invid: comparison", codec="png" if single else "h264")


def _written_frames(run: StageRun, name: str) -> Iterator[U8]:
    """The frames of an output with square pixels, read back from its files."""
    result, clip = run.result_of(name), run.of(decode.STAGE)
    files = [result.file(file) for file in result.meta["names"]]
    if is_picture_format(run.settings.encode.codec):
        return PictureSource(files, (clip.width, clip.height)).frames()
    output = decode.decode(files[0], DecodeSettings(), run.workdir)
    return all_squared(output.frames(), output.sample_aspect)


@dataclass(frozen=True)
class Output:
    """An output of a job, as `encode` publishes it: a film, a picture, or a sequence of pictures."""

    files: tuple[tuple[Path, str], ...]
    """Paths and hashes, in the order of the frames."""


def load(run: StageRun) -> Output:
    """The files and their hashes."""
    names = run.result.meta["names"]
    return Output(tuple((run.result.file(name), run.result.file_hash(name)) for name in names))


def notes(run: StageRun) -> list[str]:
    """What differs from the source, such as a sound that was encoded anew."""
    found: list[str] = run.hooks.result(run.name).meta["notes"]
    return found


def card_name(facts: Facts) -> str:
    """The generator's name, which the file's metadata says."""
    return str(facts.card.name)


_TAGS = "encode.keep_location"
_TOLD = ("encode.codec", "encode.quality", _TAGS, "invert.method", "generator")
"""Settings that every file but the comparison depends on by itself."""


def stages(settings: Settings, others: Sequence[Settings] = ()) -> list[Stage[Output]]:
    """A stage for each video: variants in their frames, view, turned head, crops, and all side by side.

    others: the settings of the faces after the first, whose variants go into the same frames.
    """
    suffix = suffix_for(settings.encode.codec)
    names = dict.fromkeys(name for own in (settings, *others) for name in full_frame_variants(own))
    found = [_frames_stage(name, suffix, settings, others) for name in names]
    base = ("decode", "track")
    reads = (*_TOLD, *settings_of("view", settings.edit))
    if settings.edit.view is not None:
        found.append(_stage(f"view{suffix}", compute_crops, (*base, "edit/view"), reads))
    if settings.edit.inset:
        found.append(_frames_stage(inset.TURNED, suffix, settings))
    if settings.encode.crops:
        name = _variant_of_crops(settings)
        reads = (*_TOLD, "edit.edits", "edit.remove_occluder")
        found.append(_stage(f"{CROPS}{suffix}", compute_crops, (*base, shown_images(settings, name)), reads))
    return [*found, _comparison_stage(settings, found)]


def _stage(
    file: str,
    compute: Callable[[StageRun], None],
    needs: tuple[str, ...],
    reads: tuple[str, ...],
    facts: Callable[[Facts], Any] = card_name,
) -> Stage[Output]:
    return Stage(f"encode/{file}", 7, load, compute, reads=reads, needs=needs, facts=facts, notes=notes)


def _frames_stage(
    name: str, suffix: str, settings: Settings, others: Sequence[Settings] = ()
) -> Stage[Output]:
    reads = (*_TOLD, *overlay_reads(settings, name, others))
    facts = overlay_facts(settings, name, card_name, others)
    return _stage(f"{name}{suffix}", compute_frames, overlay_needs(settings, name, others), reads, facts)


def _variant_of_crops(settings: Settings) -> str:
    """The variant that `--crops` writes: the one with most changes."""
    if settings.edit.edits:
        return "removal_edited" if settings.edit.remove_occluder else "edited"
    return "removal" if settings.edit.remove_occluder else "edited"


def _comparison_stage(settings: Settings, files: list[Stage[Output]]) -> Stage[Output]:
    by_name = {Path(stage.part).stem: stage.name for stage in files}
    side = inset.TURNED if inset.TURNED in by_name else "view"
    names = [name for name in ("edited", "removal", "removal_edited", side) if name in by_name]
    if not settings.edit.edits and "removal" in names:
        names.remove("edited")  # the plain reconstruction tells nothing beside the removal
    needs = ["decode", "track", *(by_name[name] for name in names)]
    if "view" in names:
        needs.append("edit/view")
    reads = ("edit.edits", "edit.view", "encode.codec", _TAGS)
    return _stage(f"{COMPARISON}.mp4", compute_comparison, tuple(needs), reads, no_facts)
