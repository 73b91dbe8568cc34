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


def named(short: str) -> str:
    """A key from a short one."""
    return short + "0" * (64 - len(short.partition("-")[2]))


def keys(cache: StageCache) -> list[str]:
    return [entry.key for entry in housekeeping.entries(cache)]


def used_at(cache: StageCache, key: str, when: float) -> None:
    os.utime(cache.root / key / "manifest.json", (when, when))


def test_what_was_used_last_stays_longest(tmp_path: Path) -> None:
    cache = StageCache(tmp_path)
    for place, key in enumerate((named("track-1"), named("align-1"), named("edit-1"))):
        publish(cache, key).close()
        used_at(cache, key, 1000.0 + place)
    assert keys(cache) == [named("track-1"), named("align-1"), named("edit-1")]
    found = cache.get(named("track-1"))
    assert found is not None
    found.close()
    assert keys(cache) == [named("align-1"), named("edit-1"), named("track-1")]
    size = housekeeping.entries(cache)[0].bytes
    assert size > 4096
    removed, left = housekeeping.make_room(cache, 2 * size)
    assert [entry.key for entry in removed] == [named("align-1")] and left == 2 * size
    assert keys(cache) == [named("edit-1"), named("track-1")]
    assert housekeeping.make_room(cache, 0)[1] == 0
    assert keys(cache) == [] and not list(tmp_path.glob(".tmp-*"))


def test_what_a_job_reads_or_computes_is_not_taken(tmp_path: Path) -> None:
    cache = StageCache(tmp_path)
    publish(cache, named("track-1")).close()
    publish(cache, named("align-1")).close()
    body = f"""
    with cache.begin({named("invert-1")!r}) as writer:
        (cache.checkpoint_dir({named("invert-1")!r}) / 'state').write_bytes(b'x' * 9000)
        held = cache.get({named("track-1")!r})
        print('ready', flush=True)
        time.sleep(60)
    """
    process = child(tmp_path, body.strip())
    try:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        removed, left = housekeeping.make_room(cache, 0)
        assert [entry.key for entry in removed] == [named("align-1")] and left > 0
        assert sorted(keys(cache)) == [named("invert-1"), named("track-1")]
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


@settings(max_examples=25)
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
    for key in (named("track-12"), named("align-34")):
        publish(cache, key).close()
    where = ["--cache", str(tmp_path)]
    assert main(["cache", "ls", *where]) == 0
    shown_ = capsys.readouterr().out
    assert named("track-12")[:24] in shown_ and "clip.mp4" in shown_ and "2 entries" in shown_
    assert main(["cache", "ls", "--json", *where]) == 0
    assert {e["stage"] for e in json.loads(capsys.readouterr().out)} == {"track", "align"}
    assert main(["cache", "show", "track", *where]) == 0
    assert json.loads(capsys.readouterr().out)["arrays"]["affine"] == "float64 [6, 2, 3]"
    chunk = tmp_path / named("align-34") / "arrays/crops/c.2.0.0.0"
    chunk.write_bytes(chunk.read_bytes()[:-1])
    assert main(["cache", "verify", *where]) == 1
    told = capsys.readouterr()
    assert named("align-34") in told.err and "2 results read, 1 damaged" in told.out
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


def everything(root: Path) -> dict[str, bytes | None]:
    """What lies below a folder."""
    return {
        str(p.relative_to(root)): p.read_bytes() if p.is_file() else None for p in sorted(root.rglob("*"))
    }


def foreign(root: Path) -> None:
    """Things of others, with names that look like a cache's."""
    for name in (
        "holiday",
        "track-1",
        ".tmp-a.b",
        ".tmp-0123456789ab.b",
        "checkpoints/mine",
        "Track-" + "0" * 64,
    ):
        (root / name).mkdir(parents=True)
        (root / name / "manifest.json").write_text("{}")
    (root / "ingest").mkdir()
    (root / "ingest" / "holiday.mkv").write_text("mine")


def test_a_folder_that_is_no_cache_is_refused_and_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    foreign(tmp_path)
    before = everything(tmp_path)
    for words in (["ls"], ["show", "track"], ["verify"], ["gc", "--keep", "0"], ["rm", "track"]):
        assert main(["cache", *words, "--cache", str(tmp_path)]) == 2
        assert "no cache here" in capsys.readouterr().err
    assert everything(tmp_path) == before


def test_what_is_not_the_caches_is_not_listed_or_removed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    foreign(tmp_path)
    before = everything(tmp_path)
    cache = StageCache(tmp_path)
    publish(cache).close()
    ours = tmp_path / "ingest" / f"ingest-{'0' * 24}.mkv"
    ours.write_text("a copy")
    where = ["--cache", str(tmp_path)]
    assert main(["cache", "verify", *where]) == 0
    assert "1 results read" in capsys.readouterr().out
    assert main(["cache", "gc", "--keep", "0", *where]) == 0
    assert "removed 2 entries" in capsys.readouterr().out
    assert {k: v for k, v in everything(tmp_path).items() if k in before} == before
    assert not ours.exists()


def test_to_look_writes_nothing(tmp_path: Path) -> None:
    publish(StageCache(tmp_path)).close()
    damaged = publish(StageCache(tmp_path), named("align-3")).key
    (tmp_path / damaged / "arrays/crops/c.2.0.0.0").unlink()
    before = {k: (v, (tmp_path / k).stat().st_mtime_ns) for k, v in everything(tmp_path).items()}
    for words in (["ls"], ["ls", "--json"], ["show", "track", "align"]):
        assert main(["cache", *words, "--cache", str(tmp_path)]) == 0
    assert {k: (v, (tmp_path / k).stat().st_mtime_ns) for k, v in everything(tmp_path).items()} == before


def test_the_cache_of_another_program_is_not_taken(tmp_path: Path) -> None:
    tag = tmp_path / "CACHEDIR.TAG"
    tag.write_text("Signature: 8a477f597d28d172789f06886806bc55\n# of another program\n")
    with pytest.raises(StorageError, match="another program"):
        StageCache(tmp_path)
    assert "another program" in tag.read_text()
    assert [p.name for p in tmp_path.iterdir()] == [tag.name]
