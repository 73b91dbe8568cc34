"""One store for several machines: over the S3 protocol, and over any folder that fsspec can name."""

from __future__ import annotations

import multiprocessing
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from storage import SharedStore, StageCache, StorageError
from tests.s3 import make_bucket, s3_server
from tests.storage.test_cache import KEY, publish

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def server() -> Iterator[dict[str, str]]:
    with s3_server() as environment:
        yield environment


@pytest.fixture(params=["s3", "file"])
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty shared store."""
    if request.param == "file":
        return f"file://{tmp_path}/shared"
    for name, value in request.getfixturevalue("server").items():
        monkeypatch.setenv(name, value)
    bucket = f"clips-{tmp_path.name.lower().replace('_', '-')[:40]}"
    make_bucket(bucket)
    return f"s3://{bucket}/cache"


def cache_of(tmp_path: Path, machine: str, url: str, lease: float = 60.0) -> StageCache:
    return StageCache(tmp_path / machine, shared=SharedStore(url, lease), label="clip.mp4")


def test_what_one_machine_computes_another_reads(tmp_path: Path, url: str) -> None:
    ours = publish(cache_of(tmp_path, "a", url))
    theirs = cache_of(tmp_path, "b", url).get(KEY)
    assert theirs is not None and theirs.folder.is_relative_to(tmp_path / "b")
    theirs.verify()
    for name, array in ours.arrays.items():
        np.testing.assert_array_equal(array.read(), theirs.arrays[name].read())
    assert theirs.file("edited.mp4").read_bytes() == b"video" * 100
    assert theirs.meta == ours.meta
    store = SharedStore(url)
    assert list(store.keys()) == [KEY]
    store.remove(KEY)
    assert store.keys() == {} and cache_of(tmp_path, "c", url).get(KEY) is None


def test_damage_there_is_found_and_damage_here_is_mended_from_there(tmp_path: Path, url: str) -> None:
    publish(cache_of(tmp_path, "a", url)).close()
    reports: list[str] = []
    here = StageCache(tmp_path / "b", reports.append, SharedStore(url))
    found = here.get(KEY)
    assert found is not None
    found.close()
    (tmp_path / "b" / KEY / "arrays/crops/c.1.0.0.0").unlink()
    assert StageCache(tmp_path / "b", reports.append, SharedStore(url)).get(KEY) is not None
    assert len(reports) == 1 and "damaged" in reports[0]

    store = SharedStore(url)
    (tar,) = store.fs.glob(f"{store.root}/results/*.tar")
    data = bytearray(store.fs.cat_file(tar))
    data[len(data) // 3] ^= 1
    store.fs.pipe_file(tar, bytes(data))
    reports.clear()
    assert StageCache(tmp_path / "c", reports.append, store).get(KEY) is None
    assert len(reports) == 1 and KEY in reports[0] and url in reports[0]
    assert store.keys() == {}, "and nobody else meets it"


def test_half_a_result_is_not_seen(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    here = cache_of(tmp_path, "a", url)
    assert here.shared is not None

    def dies(path: str, data: bytes) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(here.shared, "write", dies)
    with pytest.raises(KeyboardInterrupt):
        publish(here)
    assert len(here.shared.fs.glob(f"{here.shared.root}/results/*.tar")) == 1
    assert cache_of(tmp_path, "b", url).get(KEY) is None


def test_of_two_machines_one_computes_and_the_other_reads(tmp_path: Path, url: str) -> None:
    computed: list[str] = []
    waited = threading.Event()

    def work(machine: str) -> None:
        cache = cache_of(tmp_path, machine, url, lease=3.0)
        with cache.begin(KEY, waited.set) as writer:
            if cache.get(KEY) is None:
                computed.append(machine)
                if machine == "a":
                    assert waited.wait(30)
                    time.sleep(4)  # longer than a lease, which is renewed
                writer.put("x", np.full(3, 7))
                writer.publish()

    first, second = (threading.Thread(target=work, args=(m,)) for m in "ab")
    first.start()
    while not computed:
        time.sleep(0.01)
    second.start()
    for thread in (first, second):
        thread.join(60)
    assert computed == ["a"]
    store = SharedStore(url)
    assert not store.names("claims", KEY), "claims are given back"


def test_the_claim_of_a_killed_machine_expires_and_its_checkpoint_is_taken_up(
    tmp_path: Path, url: str
) -> None:
    text = f"""
    import time
    from tests.storage.test_shared import cache_of
    from pathlib import Path
    cache = cache_of(Path({str(tmp_path)!r}), "a", {url!r}, lease=2.0)
    with cache.begin({KEY!r}) as writer:
        (cache.checkpoint_dir({KEY!r}) / "state").write_text("step 5")
        cache.share_checkpoint({KEY!r})
        print("ready", flush=True)
        time.sleep(60)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(text)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    there = cache_of(tmp_path, "b", url, lease=2.0)
    began, waited = time.monotonic(), []
    with there.begin(KEY, lambda: waited.append(1)) as writer:
        assert 1.5 < time.monotonic() - began < 30 and waited == [1]
        assert (there.checkpoint_dir(KEY) / "state").read_text() == "step 5"
        writer.put("x", np.ones(2))
        writer.publish()
    store = SharedStore(url)
    assert not store.names("claims", KEY)
    assert not store.names("checkpoints", KEY)


def _claims(url: str, number: int, log: str) -> None:
    store = SharedStore(url, 30.0)
    for _ in range(4):
        claim = store.claim(KEY)
        with Path(log).open("a") as file:
            file.write(f"{number} in\n")
            file.flush()
            time.sleep(0.01)
            file.write(f"{number} out\n")
        claim.release()


def test_no_two_hold_a_claim_at_once(tmp_path: Path, url: str) -> None:
    log = tmp_path / "log"
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_claims, args=(url, k, str(log))) for k in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
        assert worker.exitcode == 0
    lines = log.read_text().splitlines()
    assert len(lines) == 24
    for entered, left in zip(lines[::2], lines[1::2], strict=True):
        assert entered.split() == [left.split()[0], "in"] and left.endswith("out")


def test_a_claim_is_created_once_though_two_saw_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = SharedStore(f"file://{tmp_path}", 30.0)
    path = store.path("claims", KEY, "000001")
    assert store.create(path, b"first")
    monkeypatch.setattr(type(store.fs), "exists", lambda *_, **__: False)
    assert not store.create(path, b"second")
    assert store.read(path, 100) == b"first"


def test_a_store_that_cannot_be_reached_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports: list[str] = []
    (tmp_path / "file").write_text("not a folder")
    cache = StageCache(tmp_path / "a", reports.append, SharedStore(f"file://{tmp_path}/file/store"))
    assert cache.get(KEY) is None
    publish(cache).close()
    found = cache.get(KEY)
    assert found is not None
    found.verify()
    assert reports and all("is it reachable" in report for report in reports)


def test_no_such_kind_of_store() -> None:
    with pytest.raises(StorageError, match="no such kind"):
        SharedStore("nothing://here")
