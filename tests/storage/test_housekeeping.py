"""Looking after a cache: it tells what is there, finds every damage, and never takes what a job uses."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.commands.__main__ import main
from pipeline.commands.cache import shown, size_of
from pipeline.errors import UserError
from storage import StageCache, StorageError, housekeeping
from tests.storage.test_cache import child, publish


def keys(cache: StageCache) -> list[str]:
    return [entry.key for entry in housekeeping.entries(cache)]


def used_at(cache: StageCache, key: str, when: float) -> None:
    os.utime(cache.root / key / "manifest.json", (when, when))


def test_what_was_used_last_stays_longest(tmp_path: Path) -> None:
    cache = StageCache(tmp_path)
    for place, key in enumerate(("track-1", "align-1", "edit-1")):
        publish(cache, key).close()
        used_at(cache, key, 1000.0 + place)
    assert keys(cache) == ["track-1", "align-1", "edit-1"]
    found = cache.get("track-1")
    assert found is not None
    found.close()
    assert keys(cache) == ["align-1", "edit-1", "track-1"]
    size = housekeeping.entries(cache)[0].bytes
    assert size > 4096
    removed, left = housekeeping.make_room(cache, 2 * size)
    assert [entry.key for entry in removed] == ["align-1"] and left == 2 * size
    assert keys(cache) == ["edit-1", "track-1"]
    assert housekeeping.make_room(cache, 0)[1] == 0
    assert keys(cache) == [] and not list(tmp_path.glob(".tmp-*"))


def test_what_a_job_reads_or_computes_is_not_taken(tmp_path: Path) -> None:
    cache = StageCache(tmp_path)
    publish(cache, "track-1").close()
    publish(cache, "align-1").close()
    body = """
    with cache.begin('invert-1') as writer:
        (cache.checkpoint_dir('invert-1') / 'state').write_bytes(b'x' * 9000)
        held = cache.get('track-1')
        print('ready', flush=True)
        time.sleep(60)
    """
    process = child(tmp_path, body.strip())
    try:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        removed, left = housekeeping.make_room(cache, 0)
        assert [entry.key for entry in removed] == ["align-1"] and left > 0
        assert sorted(keys(cache)) == ["invert-1", "track-1"]
        process.kill()
        process.wait()
        assert housekeeping.make_room(cache, 0)[1] == 0
        assert keys(cache) == []
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def test_a_result_found_before_it_was_taken_away_is_a_miss_and_not_an_error(tmp_path: Path) -> None:
    cache = StageCache(tmp_path)
    publish(cache).close()
    (entry,) = housekeeping.entries(cache)
    assert housekeeping.remove(cache, entry)
    assert not housekeeping.remove(cache, entry)
    assert housekeeping.verify(cache, entry) is None
    assert cache.get(entry.key) is None


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**20))
def test_the_long_look_finds_a_flipped_bit_anywhere(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    rng = random.Random(seed)
    root = tmp_path_factory.mktemp("cache")
    cache = StageCache(root)
    result = publish(cache, frames=3)
    want = {name: array.read() for name, array in result.arrays.items()}
    result.close()
    (entry,) = housekeeping.entries(cache)
    assert housekeeping.verify(cache, entry) is None
    path = rng.choice([p for p in sorted((root / entry.key).rglob("*")) if p.is_file()])
    data = bytearray(path.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)
    what = housekeeping.verify(cache, entry)
    if what is None:  # a bit that means nothing, such as one of the white space in a manifest
        found = cache.get(entry.key)
        assert found is not None
        for name, array in found.arrays.items():
            np.testing.assert_array_equal(array.read(), want[name])
    else:
        assert cache.get(entry.key) is None, "what is damaged is dropped"


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache = StageCache(tmp_path, label="clip.mp4")
    for key in ("track-12", "align-34"):
        publish(cache, key).close()
    where = ["--cache", str(tmp_path)]
    assert main(["cache", "ls", *where]) == 0
    shown_ = capsys.readouterr().out
    assert "track-12" in shown_ and "clip.mp4" in shown_ and "2 entries" in shown_
    assert main(["cache", "ls", "--json", *where]) == 0
    assert {e["stage"] for e in json.loads(capsys.readouterr().out)} == {"track", "align"}
    assert main(["cache", "show", "track", *where]) == 0
    assert json.loads(capsys.readouterr().out)["arrays"]["affine"] == "float64 [6, 2, 3]"
    chunk = tmp_path / "align-34/arrays/crops/c.2.0.0.0"
    chunk.write_bytes(chunk.read_bytes()[:-1])
    assert main(["cache", "verify", *where]) == 1
    told = capsys.readouterr()
    assert "align-34" in told.err and "2 results read, 1 damaged" in told.out
    assert main(["cache", "rm", "clip.mp4", *where]) == 0
    assert housekeeping.entries(cache) == []
    capsys.readouterr()
    for wrong in (["rm"], ["rm", "what"], ["gc"], ["gc", "--keep", "much"]):
        assert main(["cache", *wrong, *where]) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert main(["cache", "ls", "--cache", str(tmp_path / "none")]) == 2


@given(st.integers(0, 10**15))
def test_sizes_are_read_as_they_are_shown(size: int) -> None:
    again = size_of(shown(size))
    assert abs(again - size) <= max(0.051 * size, 0.5)


@pytest.mark.parametrize("text", ["", "GB", "-1", "5 PB", "1e9"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(UserError):
        size_of(text)


def test_a_word_that_fits_nothing(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="invid cache ls"):
        housekeeping.matching(StageCache(tmp_path), ["track"])
