"""The readers that cases are put before: those of the commands, as the commands call them.

A reader returns True where it has read a file, and False where it has reported damage and gone on without.
It raises one of DECLARED where it refuses, which a command prints as one line.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np

from benchmarks.fuzz_carriers import FRAMES
from benchmarks.fuzz_cases import Kind, Place
from benchmarks.fuzz_clips import HEIGHT, WIDTH
from inverters.editing.direction_files import load_directions
from inverters.errors import InverterError
from inverters.fitting.checkpoints import CheckpointStore
from inverters.generators.load import load_generator
from pipeline.clip import Clip
from pipeline.errors import InvidError
from pipeline.faces.camera_labels import read_dataset_json
from pipeline.faces.identity import load_embedder
from pipeline.faces.tddfa import TddfaLandmarks
from pipeline.job.costs import CostBook, estimate
from pipeline.job.finished import already_done
from pipeline.report.manifest import JobResult, files_of
from pipeline.request.checks import check_settings
from pipeline.request.occluder_masks import CropMasks, match_masks
from pipeline.request.options import parse, request_of
from pipeline.request.paths import user_paths
from pipeline.request.settings import DecodeSettings, EncodeSettings, Settings
from pipeline.scoring.score import score
from pipeline.stages.decode import decode
from pipeline.stages.encode import encode
from pipeline.watch.clip_settings import options_of
from pipeline.watch.folder import WatchedFolder
from pipeline.watch.ledger import Ledger
from pipeline.watch.watcher import Watcher
from storage import SharedStore, StageCache, StageResult, StorageError, stage_key
from storage.cache import CacheReader
from storage.housekeeping import entries, verify

DECLARED = (InvidError, InverterError, StorageError)
"""Errors that `pipeline.commands.guard` prints in one line."""
_KEY = stage_key("invert", 1, {}, [])
_MOST_FRAMES = 300
"""Frames of a clip that are read; a damaged header can promise millions."""


def clip(place: Place) -> bool:
    """Decode a clip, and read its frames in order and again from the middle."""
    found = decode(place.main, DecodeSettings(), place.work)
    _look(found, "decode")
    return True


def _look(found: Clip, name: str) -> None:
    """Read frames; each has the size that the clip has."""
    stop = min(len(found), _MOST_FRAMES)
    for start in (0, stop // 2):
        for frame in found.frames(start, stop):
            assert frame.shape == (found.height, found.width, 3), f"{name}: a frame of {frame.shape}"
    assert np.isfinite(found.times).all() and (np.diff(found.times) > 0).all(), f"{name}: times go back"
    assert np.isfinite(found.duration) and found.duration > 0, f"{name}: a duration of {found.duration}"


def clip_by_decord(place: Place) -> bool:
    """As `--reader decord`."""
    _look(decode(place.main, DecodeSettings(reader="decord", max_frames=8), place.work), "decord")
    return True


def filtered_clip(place: Place) -> bool:
    """As `--ingest fps=25`."""
    _look(decode(place.main, DecodeSettings(ingest="fps=25"), place.work), "ingest")
    return True


def sound(place: Place) -> bool:
    """Write a result at the clip's times with its sound, as the last stage does.

    A clip that was read is refused nowhere else: hours of a fit would be lost.
    """
    found = decode(place.main, DecodeSettings(max_frames=50), place.work)
    if found.width * found.height > 1 << 22:  # read elsewhere; encoding it is slow
        return True
    frames = list(found.frames())
    suffix = (".mp4", ".mov", ".mkv")[place.main.stat().st_size % 3]
    try:
        encode(frames, found, place.work / f"edited{suffix}", EncodeSettings(), "edited")
    except InvidError as error:
        raise AssertionError(f"the last stage refuses a clip that was read: {error}") from error
    return True


def watched(place: Place) -> bool:
    """What `invid watch` makes of a folder of clips."""
    ready, refused = WatchedFolder(place.inputs, 0.0).look()
    return bool(ready) and not refused


def masks(place: Place) -> bool:
    """`--occluder-masks`, into crops."""
    files = match_masks(place.main, np.arange(4), 4, WIDTH, HEIGHT)
    affines = np.tile(np.array([[0.5, 0.0, 1.0], [0.0, 0.5, 1.0]]), (4, 1, 1))
    found = CropMasks(files, affines, 32)[np.arange(4)]
    assert found.shape == (4, 32, 32) and set(np.unique(found)) <= {0, 255}, f"masks of {found.shape}"
    return True


def side_file(place: Place) -> bool:
    """`clip.yaml` beside a clip: words that parse, with no path that leads out of the folder."""
    clip_path = place.main.with_suffix(".mp4")
    words = options_of(clip_path)
    settings = parse([f"./{clip_path.name}", *words]).settings
    inside = place.inputs.resolve()
    outer = [str(one.path) for one in user_paths(settings) if not one.path.resolve().is_relative_to(inside)]
    assert not outer, f"paths outside of the clip's folder: {outer}"
    _checked(settings)
    return bool(words)


def settings_file(place: Place) -> bool:
    """`--settings FILE`."""
    _checked(request_of(Path("clip.mp4"), {"settings": place.main}).settings)
    return True


def _checked(settings: Settings) -> None:
    """What is said of settings before a job; files that they name are not there, which is refused too."""
    with contextlib.suppress(InvidError):
        check_settings(settings)


def cameras(place: Place) -> bool:
    """`--cameras dataset.json`."""
    found = read_dataset_json(place.main, FRAMES)
    assert found.cam2world.shape == (FRAMES, 4, 4), found.cam2world.shape
    return True


def generator(place: Place) -> bool:
    """`--generator FILE`."""
    found = load_generator(place.main)
    assert len(found.card.w_avg) == found.config.w_dim, "w_avg does not fit"
    return True


def directions(place: Place) -> bool:
    """`--directions FILE`."""
    load_directions(place.main, load_generator("bundled"), allow_unmarked=True)
    return True


def embedder(place: Place) -> bool:
    """`invid score --identity FILE`."""
    load_embedder(place.main)
    return True


def tddfa(place: Place) -> bool:
    """`--detector 3ddfa:FOLDER`."""
    TddfaLandmarks(place.main, finder=_NoFinder())  # type: ignore[arg-type]
    return True


class _NoFinder:
    """No face detector is needed to read files."""


def _arrays_of(result: StageResult, place: Place) -> None:
    """Read all of a result; its rows are what was put there, unless somebody made the checksums fit."""
    rows = np.arange(4 * 108, dtype=np.uint8).reshape(4, 6, 6, 3)
    for name, array in result.arrays.items():
        found = array.read()
        if place.true and name == "rows":
            assert np.array_equal(found, rows), "rows are not what was put there"
            assert np.array_equal(array[2], rows[2]), "a row is not what was put there"
    for name in result.file_names:
        result.file(name)


def cache(place: Place) -> bool:
    """List, read and check a cache; damage is reported and dropped, or what is read is right."""
    said: list[str] = []
    root = place.work / "cache"
    reader = CacheReader(root, said.append)
    entries(reader)
    store = StageCache(root, said.append)
    for damage in (store.get(_KEY), reader.get(_KEY)):
        if damage is not None:
            _arrays_of(damage, place)
            damage.close()
    said += [what for entry in entries(store) if (what := verify(store, entry)) is not None]
    folder = store.checkpoint_dir(stage_key("finetune", 1, {}, []))
    CheckpointStore(folder, {"method": "w"}).load()
    estimate(CostBook(root).read(), "invert x", 8)
    return not said


def shared_store(place: Place) -> bool:
    """Fetch a result and checkpoints from a shared store."""
    said: list[str] = []
    store = StageCache(place.work / "cache", said.append, SharedStore(f"file://{place.work / 'store'}"))
    assert store.shared is not None
    store.shared.keys()
    result = store.get(_KEY)
    if result is not None:
        _arrays_of(result, place)
        result.close()
    with store.begin(stage_key("edit", 1, {}, [])) as writer:
        writer.put("x", np.zeros(3))
        writer.publish()
    return result is not None and not said


def job_result(place: Place) -> bool:
    """`invid score` of a job, and what a later job sees of an earlier one in its output folder."""
    files_of(place.main)
    already_done(place.inputs / "clip.mp4", place.main, Settings(), None)
    found = JobResult(place.main)
    for name in found.names():
        found.array(name)
    score(place.main, place.inputs / "clip.mp4")
    return True


def ledger(place: Place) -> bool:
    """The records of a watcher, taken up by the next one."""
    out = place.work / "out"
    records = Ledger(out)
    found, counts = records.all(), records.counts()
    for record in found:
        records.asked_again(record)
    watched_folder = place.work / "clips"
    watched_folder.mkdir()
    Watcher(watched_folder, out, say=lambda line: None).scan()
    return sum(counts.values()) == 4


KINDS = {
    "clip": Kind("clips", 30, clip),
    "decord": Kind("clips", 3, clip_by_decord),
    "ingest": Kind("clips", 2, filtered_clip),
    "sound": Kind("sound", 10, sound),
    "watched": Kind("clips", 4, watched),
    "masks": Kind("masks", 8, masks),
    "side file": Kind("side files", 8, side_file, stay=(".mp4", "a.npy", "b.npy", "g.pkl", "dataset.json")),
    "settings": Kind("settings", 5, settings_file, stay=(".mp4", "a.npy", "b.npy", "g.pkl", "dataset.json")),
    "cameras": Kind("cameras", 6, cameras),
    "generator": Kind("generators", 8, generator, only="own"),
    "snapshot": Kind("generators", 8, generator, only="official"),
    "directions": Kind("directions", 8, directions),
    "embedder": Kind("networks", 2, embedder, only="state"),
    "3ddfa": Kind("networks", 3, tddfa, only="tddfa"),
    "cache": Kind("caches", 9, cache, only="local"),
    "shared store": Kind("caches", 6, shared_store, only="shared"),
    "result": Kind("results", 6, job_result, stay=(".mp4",)),
    "ledger": Kind("ledgers", 3, ledger),
}
"""Readers by name."""
