"""Entries of a cache that somebody has tampered with are damage: no hang, no bomb, computed again."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numcodecs import Zstd

from storage import CacheDamagedError, SharedStore, StageCache, housekeeping, is_cache
from storage.layout import seal, unpacked_bytes
from storage.row_blocks import RowBlocks
from tests.storage.test_cache import KEY, publish

BRACKETS = "[" * 100_000


def pipe_at(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def swapped(one: Path, two: Path) -> None:
    kept = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(kept)


def chunk(root: Path, number: int) -> Path:
    return root / KEY / f"arrays/crops/c.{number}.0.0.0"


def test_chunks_in_each_others_places_are_damage(tmp_path: Path) -> None:
    cache = StageCache(tmp_path)
    crops = publish(cache).arrays["crops"]
    np.testing.assert_array_equal(crops[1], 0)
    swapped(chunk(tmp_path, 0), chunk(tmp_path, 2))
    for rows in (0, slice(0, 1), np.array([2]), slice(None)):
        with pytest.raises(CacheDamagedError, match=r"chunk [02] of array crops is not what was published"):
            crops[rows]
    assert not np.array_equal(crops[3], crops[4])


def test_a_chunk_of_another_array_is_damage(tmp_path: Path) -> None:
    cache = StageCache(tmp_path)
    with cache.begin(KEY) as writer:
        for name, value in (("one", 1), ("two", 2)):
            writer.put(name, np.full((3, 4), value, np.float32))
        found = writer.publish()
    swapped(tmp_path / KEY / "arrays/one/c.0.0", tmp_path / KEY / "arrays/two/c.0.0")
    with pytest.raises(CacheDamagedError, match="not what was published there"):
        found.arrays["one"].read()


@pytest.mark.parametrize(
    "tamper",
    [
        lambda folder: pipe_at(folder / "manifest.json"),
        lambda folder: pipe_at(folder / "arrays/crops/zarr.json"),
        lambda folder: (folder / "manifest.json").write_text(BRACKETS),
        lambda folder: (folder / "manifest.json").write_text('{"a":' * 50_000),
        lambda folder: (folder / "manifest.json").write_text("9" * 5000),
    ],
)
def test_a_result_that_cannot_be_opened_is_damage(tmp_path: Path, tamper: Callable[[Path], object]) -> None:
    reports: list[str] = []
    publish(StageCache(tmp_path)).close()
    tamper(tmp_path / KEY)
    cache = StageCache(tmp_path, reports.append)
    assert [entry.key for entry in housekeeping.entries(cache)] == [KEY]
    assert cache.get(KEY) is None
    assert len(reports) == 1 and "\n" not in reports[0] and "computed again" in reports[0]
    publish(cache).verify()


def test_a_pipe_in_the_place_of_a_chunk_is_damage(tmp_path: Path) -> None:
    crops = publish(StageCache(tmp_path)).arrays["crops"]
    pipe_at(chunk(tmp_path, 2))
    with pytest.raises(CacheDamagedError, match="chunk 2 of array crops is missing"):
        crops[2]


@pytest.mark.parametrize(
    "change",
    [
        {"sums": []},
        {"shape": [-1, 8, 8, 3]},
        {"shape": [float("inf"), 8, 8, 3]},
        {"shape": [2**63, 8, 8, 3]},
        {"shape": [9, 8, 8, 3]},
        {"chunk_rows": 0},
        {"chunk_rows": 2**63},
        {"dtype": "nonsense"},
    ],
)
def test_a_manifest_that_contradicts_itself_is_damage(tmp_path: Path, change: dict[str, object]) -> None:
    reports: list[str] = []
    cache = StageCache(tmp_path, reports.append)
    publish(cache).close()
    path = tmp_path / KEY / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["arrays"]["crops"] |= change
    if manifest["arrays"]["crops"]["shape"][0] != float("inf"):
        manifest["seal"] = seal(manifest)
    path.write_text(json.dumps(manifest))
    assert cache.get(KEY) is None and len(reports) == 1


def test_names_in_a_manifest_stay_in_its_folder(tmp_path: Path) -> None:
    reports: list[str] = []
    cache = StageCache(tmp_path, reports.append)
    publish(cache).close()
    path = tmp_path / KEY / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["files"]["../../x"] = manifest["files"]["edited.mp4"]
    manifest["seal"] = seal(manifest)
    path.write_text(json.dumps(manifest))
    assert cache.get(KEY) is None and "incomplete" in reports[0]


@pytest.mark.parametrize("size", [0, 1, 100, 255, 256, 300, 70_000])
def test_what_a_chunk_unpacks_to_is_known_before(tmp_path: Path, size: int) -> None:
    path = tmp_path / "c"
    path.write_bytes(Zstd(level=1, checksum=True).encode(bytes(size)))
    assert unpacked_bytes(path) == size
    path.write_bytes(b"no frame of zstd")
    assert unpacked_bytes(path) == -1


def test_a_chunk_that_unpacks_to_more_is_not_unpacked(tmp_path: Path) -> None:
    crops = publish(StageCache(tmp_path)).arrays["crops"]
    chunk(tmp_path, 2).write_bytes(Zstd(level=1, checksum=True).encode(bytes(10**6)))
    with pytest.raises(CacheDamagedError, match="unpacks to 1000000 bytes, not 192"):
        crops[2]


@pytest.mark.parametrize("axis", range(4))
@pytest.mark.parametrize("rows", [0, False, 1 << 40])
def test_a_header_with_other_chunks_is_damage(tmp_path: Path, axis: int, rows: int) -> None:
    """Its hash in the manifest fits, as that of a hostile writer would."""
    publish(StageCache(tmp_path)).close()
    header, path = tmp_path / KEY / "arrays/crops/zarr.json", tmp_path / KEY / "manifest.json"
    values, manifest = json.loads(header.read_text()), json.loads(path.read_text())
    values["chunk_grid"]["configuration"]["chunk_shape"][axis] = rows
    header.write_text(json.dumps(values))
    manifest["arrays"]["crops"]["header"] = hashlib.sha256(header.read_bytes()).hexdigest()
    manifest["seal"] = seal(manifest)
    path.write_text(json.dumps(manifest))
    found = StageCache(tmp_path).get(KEY)
    assert found is not None
    with pytest.raises(CacheDamagedError, match="array crops"):
        found.arrays["crops"].read()


def store_with(tmp_path: Path, change: Callable[[tarfile.TarInfo], None]) -> SharedStore:
    """A shared store whose tar has one more member, and the hash that belongs to it."""
    store = SharedStore(f"file://{tmp_path}/shared")
    publish(StageCache(tmp_path / "a", shared=store)).close()
    (path,) = (tmp_path / "shared/results").glob("*.tar")
    stream = io.BytesIO(path.read_bytes())
    with tarfile.open(fileobj=stream, mode="a") as archive:
        extra = tarfile.TarInfo("arrays/extra")
        change(extra)
        archive.addfile(extra)
    path.write_bytes(stream.getvalue())
    entry = tmp_path / f"shared/results/{KEY}.json"
    told = {"sha256": hashlib.sha256(stream.getvalue()).hexdigest(), "bytes": len(stream.getvalue())}
    entry.write_text(json.dumps(json.loads(entry.read_text()) | told))
    return store


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_a_tar_with_more_than_files_is_damage(tmp_path: Path, kind: bytes) -> None:
    def change(member: tarfile.TarInfo) -> None:
        member.type, member.linkname = kind, "manifest.json"

    store, reports = store_with(tmp_path, change), list[str]()
    here = StageCache(tmp_path / "b", reports.append, store)
    assert here.get(KEY) is None and len(reports) == 1 and "not what was put" in reports[0]
    assert store.keys() == {} and not (tmp_path / "b" / KEY).exists()
    publish(here).verify()


def test_a_tar_with_a_name_that_leads_out_is_damage(tmp_path: Path) -> None:
    store = store_with(tmp_path, lambda member: setattr(member, "name", "../outside"))
    reports: list[str] = []
    assert StageCache(tmp_path / "b", reports.append, store).get(KEY) is None and len(reports) == 1
    assert not (tmp_path / "b/outside").exists()


@pytest.mark.parametrize(
    "text", [BRACKETS, "[]", "{}", '{"object": "../x", "bytes": 1, "sha256": ""}', '{"bytes": 1e999}']
)
def test_an_entry_of_a_store_that_is_none_is_removed(tmp_path: Path, text: str) -> None:
    store = store_with(tmp_path, lambda member: None)
    (tmp_path / f"shared/results/{KEY}.json").write_text(text)
    reports: list[str] = []
    assert StageCache(tmp_path / "b", reports.append, store).get(KEY) is None and reports == []
    assert store.keys() == {}


def test_a_claim_that_is_no_number_is_passed_over(tmp_path: Path) -> None:
    store = SharedStore(f"file://{tmp_path}/shared")
    (tmp_path / f"shared/claims/{KEY}").mkdir(parents=True)
    (tmp_path / f"shared/claims/{KEY}/notes.txt").write_text("x")
    store.claim(KEY).release()


def test_a_tag_that_is_a_pipe_marks_no_cache(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "CACHEDIR.TAG")
    assert not is_cache(tmp_path)


@pytest.mark.parametrize("pack", [np.savez_compressed, lambda file, **arrays: file.write(b"no block")])
def test_a_block_that_we_did_not_write_is_left_out(tmp_path: Path, pack: Callable[..., None]) -> None:
    stream = io.BytesIO()
    pack(stream, x=np.zeros((10, 2)))
    digest = hashlib.sha256(stream.getvalue()).hexdigest()
    (tmp_path / f"rows-000000-{digest}.npz").write_bytes(stream.getvalue())
    rows = list(RowBlocks(tmp_path).all(lambda first: iter([{"x": np.full((1, 2), first)}])))
    assert len(rows) == 1 and (rows[0]["x"] == 0).all()
    assert not list(tmp_path.iterdir())


def test_a_pipe_in_a_shared_folder_is_not_waited_for(tmp_path: Path) -> None:
    store = store_with(tmp_path, lambda member: None)
    pipe_at(tmp_path / f"shared/results/{KEY}.json")
    reports: list[str] = []
    assert StageCache(tmp_path / "b", reports.append, store).get(KEY) is None
    assert len(reports) == 1 and "not a regular file" in reports[0]


def test_damage_is_told_in_one_short_line() -> None:
    said = str(CacheDamagedError(KEY, "Unknown chunk grid. Got\n" + "x" * 100_000))
    assert "\n" not in said and len(said) < 500 and "Unknown chunk grid. Got xxx" in said
