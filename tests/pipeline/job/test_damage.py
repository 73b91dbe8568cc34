"""Damage anywhere in the cache: found, named, computed again; the results are the same."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.job.walker import run_job
from pipeline.request.settings import Settings
from storage import StageCache
from storage.housekeeping import entries, verify
from tests.pipeline.fakes import Fakes, write_clip
from tests.pipeline.job.test_walker import SMILE, Notes

EVERYTHING = pytest.param(None, marks=pytest.mark.slow)


def flip(path: Path, rng: random.Random) -> None:
    data = bytearray(path.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(bytes(data))


def empty(path: Path, rng: random.Random) -> None:
    path.write_bytes(b"")


def remove(path: Path, rng: random.Random) -> None:
    path.unlink()


def files_of(cache: Path) -> list[Path]:
    """Every file of every result."""
    return sorted(p for p in cache.rglob("*") if p.is_file() and "-" in p.relative_to(cache).parts[0])


@pytest.mark.timeout(3000)
@pytest.mark.parametrize("most", [8, EVERYTHING])
@pytest.mark.parametrize("damage", [flip, empty, remove])
def test_whatever_is_damaged_the_results_are_the_same(
    damage: Callable[[Path, random.Random], None], most: int | None, fakes: Fakes, tmp_path: Path
) -> None:
    clip, whole = write_clip(tmp_path / "clip.mp4"), tmp_path / "whole"
    first = run_job(clip, tmp_path / "out", whole, SMILE)
    rng = random.Random(5)
    chosen = files_of(whole)
    assert len(chosen) > 60
    if most is not None:
        manifests = [path for path in chosen if path.name == "manifest.json"]
        chosen = [rng.choice(manifests), *rng.sample(chosen, most - 1)]
    for number, path in enumerate(chosen):
        cache = tmp_path / f"cache{number}"
        shutil.copytree(whole, cache)
        damage(cache / path.relative_to(whole), rng)
        second, notes = again(clip, tmp_path / f"out{number}", cache, SMILE)
        assert second["arrays"] == first["arrays"], path
        assert second["output_hashes"]["edited"] == first["output_hashes"]["edited"], path
        key = path.relative_to(whole).parts[0]
        if any("damaged" in text for text in notes):
            assert any(key in text for text in notes), f"{path}: {notes}"
        else:  # it was not read: the long look must find it, and name it
            assert_found(cache, key, whole)
        shutil.rmtree(cache)


def again(clip: Path, out: Path, cache: Path, settings: Settings) -> tuple[dict[str, Any], list[str]]:
    notes = Notes()
    return run_job(clip, out, cache, settings, notes), notes.texts


def assert_found(folder: Path, key: str, whole: Path) -> None:
    """The damage is found; or it is none: zstd decodes a few flipped bits of a frame to the same values."""
    cache = StageCache(folder)
    (entry,) = [entry for entry in entries(cache) if entry.key == key]
    if verify(cache, entry):
        return
    found, meant = cache.get(key), StageCache(whole).get(key)
    assert found is not None and meant is not None and found.arrays, f"damage in {key} was not found"
    for name, array in meant.arrays.items():
        np.testing.assert_array_equal(
            found.arrays[name].read(), array.read(), f"damage in {key} was not found"
        )
    assert found.meta == meant.meta and found.file_names == meant.file_names
    assert all(found.file(name).read_bytes() == meant.file(name).read_bytes() for name in meant.file_names)
