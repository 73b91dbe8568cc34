"""The stage cache: what is published is whole, what is damaged is found, what is left over is swept."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from storage import CacheDamagedError, CacheWriteError, StageCache, StageResult, StorageError, content_hash

KEY = "track-" + "0123" * 16


def publish(cache: StageCache, key: str = KEY, frames: int = 6) -> StageResult:
    pixels = np.random.default_rng(0).integers(0, 255, (frames, 8, 8, 3), np.uint8)
    pixels[1] = 0  # a black frame is data, too
    with cache.begin(key) as writer:
        stored = writer.array("crops", pixels.shape, np.uint8)
        for row in pixels:
            stored.write(row[None])
        writer.put("affine", np.arange(frames * 6, dtype=np.float64).reshape(frames, 2, 3))
        writer.file("edited.mp4").write_bytes(b"video" * 100)
        writer.meta["detector"] = "mediapipe"
        return writer.publish()


def leftovers(root: Path) -> list[str]:
    return [p.name for p in root.iterdir() if p.name.startswith((".tmp", ".probe"))]


arrays = st.sampled_from([np.uint8, np.int64, np.float16, np.float32, np.float64, np.bool_]).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5))
)


@settings(max_examples=30)
@given(arrays, st.integers(1, 7))
def test_what_is_written_is_read_back(array: np.ndarray, rows: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        cache = StageCache(Path(folder))
        with cache.begin(KEY) as writer:
            writer.put("whole", array)
            if array.ndim:
                streamed = writer.array("rows", array.shape, array.dtype, chunk_rows=rows)
                for start in range(0, len(array), rows):
                    streamed.write(array[start : start + rows])
            writer.publish()
        found = cache.get(KEY)
        assert found is not None
        for stored in found.arrays.values():
            back = stored.read()
            assert back.dtype == array.dtype and back.shape == array.shape
            np.testing.assert_array_equal(back, array)
            assert stored.hash == content_hash(array)
        found.verify()


@settings(max_examples=20)
@given(st.lists(st.integers(-7, 6), max_size=9), st.integers(1, 4))
def test_rows_are_picked_like_numpy_picks_them(rows: list[int], chunk_rows: int) -> None:
    array = np.arange(7 * 3).reshape(7, 3)
    with tempfile.TemporaryDirectory() as folder:
        cache = StageCache(Path(folder))
        with cache.begin(KEY) as writer:
            stored = writer.array("x", array.shape, array.dtype, chunk_rows=chunk_rows)
            for start in range(0, 7, chunk_rows):
                stored.write(array[start : start + chunk_rows])
            found = writer.publish().arrays["x"]
        picked = np.array(rows, np.int64)
        np.testing.assert_array_equal(found[picked], array[picked])
        np.testing.assert_array_equal(found[2:6], array[2:6])
        np.testing.assert_array_equal(found[-1], array[-1])
        with pytest.raises(IndexError):
            found[7]


def test_result_has_meta_and_files_and_survives_a_new_process(tmp_path: Path) -> None:
    publish(StageCache(tmp_path))
    found = StageCache(tmp_path).get(KEY)
    assert found is not None
    assert found.meta == {"detector": "mediapipe"}
    assert found.file("edited.mp4").read_bytes() == b"video" * 100
    assert found.file_names == ["edited.mp4"]
    assert (found.arrays["crops"][1] == 0).all()


def test_nothing_is_seen_before_publish_and_nothing_stays_without_it(tmp_path: Path) -> None:
    cache = StageCache(tmp_path)
    with cache.begin(KEY) as writer:
        writer.put("x", np.ones(3))
        assert cache.get(KEY) is None
    assert cache.get(KEY) is None
    with pytest.raises(RuntimeError), cache.begin(KEY) as writer:
        writer.put("x", np.ones(3))
        raise RuntimeError
    assert leftovers(tmp_path) == []


def test_missing_rows_or_files_are_not_published(tmp_path: Path) -> None:
    cache = StageCache(tmp_path)
    with cache.begin(KEY) as writer:
        writer.array("x", (3, 2), np.uint8).write(np.zeros((2, 2), np.uint8))
        with pytest.raises(StorageError, match="2 of 3 rows"):
            writer.publish()
    with cache.begin(KEY) as writer:
        writer.file("never.mp4")
        with pytest.raises(StorageError, match="never written"):
            writer.publish()
    with cache.begin(KEY) as writer:
        writer.put("x", np.ones((3, 2)))
        next((writer._folder / "arrays" / "x").glob("c.*")).unlink()
        with pytest.raises(StorageError, match="chunks"):
            writer.publish()
    assert cache.get(KEY) is None


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(bytes(data))


def test_structural_damage_is_reported_dropped_and_can_be_computed_again(tmp_path: Path) -> None:
    def no_chunk(folder: Path) -> None:
        (folder / "arrays/crops/c.2.0.0.0").unlink()

    def no_manifest(folder: Path) -> None:
        (folder / "manifest.json").unlink()

    def bad_manifest(folder: Path) -> None:
        (folder / "manifest.json").write_text('{"format": 1')

    def other_manifest(folder: Path) -> None:
        text = json.loads((folder / "manifest.json").read_text())
        del text["arrays"]["crops"]["shape"]
        (folder / "manifest.json").write_text(json.dumps(text))

    def bad_header(folder: Path) -> None:
        path = folder / "arrays/crops/zarr.json"
        path.write_text(path.read_text().replace("uint8", "int16"))

    def short_file(folder: Path) -> None:
        (folder / "files/edited.mp4").write_bytes(b"vid")

    def no_array(folder: Path) -> None:
        (folder / "arrays/affine/zarr.json").unlink()

    for harm in (no_chunk, no_manifest, bad_manifest, other_manifest, bad_header, short_file, no_array):
        root = tmp_path / harm.__name__
        reports: list[str] = []
        cache = StageCache(root, reports.append)
        before = publish(cache).arrays["crops"].hash
        harm(root / KEY)
        assert cache.get(KEY) is None, harm.__name__
        assert len(reports) == 1 and KEY in reports[0] and "computed again" in reports[0]
        assert publish(cache).arrays["crops"].hash == before
        assert cache.get(KEY) is not None
        assert leftovers(root) == []


def test_a_flipped_bit_in_any_chunk_is_found_when_it_is_read(tmp_path: Path) -> None:
    cache = StageCache(tmp_path)
    result = publish(cache)
    for chunk in sorted((tmp_path / KEY / "arrays/crops").glob("c.*")):
        good = chunk.read_bytes()
        flip(chunk)
        with pytest.raises(CacheDamagedError) as caught:
            result.arrays["crops"].read()
        assert caught.value.key == KEY
        chunk.write_bytes(good)
    result.arrays["crops"].read()


def test_chunks_that_vanish_later_are_not_read_as_black(tmp_path: Path) -> None:
    result = publish(StageCache(tmp_path))
    (tmp_path / KEY / "arrays/crops/c.3.0.0.0").unlink()
    result.arrays["crops"][2]
    with pytest.raises(CacheDamagedError, match="missing"):
        result.arrays["crops"][3]


def test_swapped_chunks_and_changed_files_are_found_by_the_long_look(tmp_path: Path) -> None:
    result = publish(StageCache(tmp_path))
    folder = tmp_path / KEY / "arrays/crops"
    first, second = (folder / "c.0.0.0.0").read_bytes(), (folder / "c.2.0.0.0").read_bytes()
    (folder / "c.0.0.0.0").write_bytes(second)
    (folder / "c.2.0.0.0").write_bytes(first)
    result.check()
    with pytest.raises(CacheDamagedError, match="not what was published"):
        result.verify()
    flip(tmp_path / KEY / "files/edited.mp4")
    with pytest.raises(CacheDamagedError, match=r"edited\.mp4"):
        result.file("edited.mp4")


def child(root: Path, body: str) -> subprocess.Popen[str]:
    text = f"""
    import sys, time, numpy as np
    from pathlib import Path
    from storage import StageCache
    cache = StageCache(Path({str(root)!r}))
    {body}
    """
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(text)], stdout=subprocess.PIPE, text=True, cwd=Path.cwd()
    )


def test_leftovers_of_a_killed_writer_are_swept_those_of_a_living_one_are_not(tmp_path: Path) -> None:
    key = "invert-" + "1" * 64
    body = f"w = cache.begin({key!r}); w.put('x', np.ones(9)); print('ready', flush=True); time.sleep(60)"
    process = child(tmp_path, body)
    try:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        StageCache(tmp_path)
        assert len(leftovers(tmp_path)) == 1, "a living writer's folder was swept"
        process.send_signal(signal.SIGKILL)
        process.wait()
        cache = StageCache(tmp_path)
        assert leftovers(tmp_path) == []
        assert cache.get(key) is None
        with cache.begin(key) as writer:
            writer.put("x", np.ones(1))
            writer.publish()
        assert cache.get(key) is not None
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def test_a_second_computer_of_the_same_key_waits_and_finds_the_result(tmp_path: Path) -> None:
    computed: list[int] = []
    waited = threading.Event()

    def work(number: int) -> None:
        cache = StageCache(tmp_path)
        with cache.begin(KEY, waited.set) as writer:
            if cache.get(KEY) is None:
                computed.append(number)
                if number == 0:
                    assert waited.wait(10)
                writer.put("x", np.full(3, number))
                writer.publish()

    first = threading.Thread(target=work, args=(0,))
    first.start()
    while not computed:
        waited.wait(0.01)
    second = threading.Thread(target=work, args=(1,))
    second.start()
    first.join(20)
    second.join(20)
    assert computed == [0]
    assert not list((tmp_path / ".locks").iterdir())


def test_checkpoints_stay_until_their_result_is_published(tmp_path: Path) -> None:
    cache = StageCache(tmp_path)
    with pytest.raises(KeyboardInterrupt), cache.begin(KEY) as writer:
        (cache.checkpoint_dir(KEY) / "state").write_text("step 5")
        raise KeyboardInterrupt
    cache = StageCache(tmp_path)
    with cache.begin(KEY) as writer:
        assert (cache.checkpoint_dir(KEY) / "state").read_text() == "step 5"
        writer.put("x", np.ones(2))
        writer.publish()
    assert not (tmp_path / "checkpoints" / KEY).exists()


def test_a_folder_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(CacheWriteError, match="cannot write to the cache folder"):
        StageCache(tmp_path / "file" / "cache")


LIMITED = """
import resource
try:
    with cache.begin('big') as w:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
        w.put('x', np.random.default_rng(0).random(100000))
        w.publish()
except Exception as error:
    print(type(error).__name__, error, flush=True)
"""


def test_a_full_disk_leaves_nothing_and_says_so(tmp_path: Path) -> None:
    body = LIMITED.strip().replace("\n", "\n    ")
    process = child(tmp_path, body)
    told, _ = process.communicate(timeout=60)
    assert told.startswith("CacheWriteError") and "full" in told, told
    assert leftovers(tmp_path) == []
    assert StageCache(tmp_path).get("big") is None


@pytest.mark.parametrize("name", ["", "..", "a/b", ".hidden", "a b"])
def test_names_cannot_leave_the_cache(tmp_path: Path, name: str) -> None:
    cache = StageCache(tmp_path)
    bad: Any = name
    with pytest.raises(ValueError):
        cache.get(bad)
    with cache.begin(KEY) as writer, pytest.raises(ValueError):
        writer.file(bad)
