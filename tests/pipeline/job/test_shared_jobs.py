"""Two machines, each with a folder of its own, and one store that speaks S3: whole jobs on the same clip."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.s3 import make_bucket, s3_server

ROOT = Path(__file__).parents[3]
SAMPLE = ROOT / "samples" / "mask.mp4"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


class Machines:
    """Processes that share nothing but the store."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder, self.environment = folder, environment

    def start(self, name: str, *options: str) -> subprocess.Popen[str]:
        here = self.folder / name
        here.mkdir()
        words = ["--max-frames=2", "--steps=40", "--finetune-steps=4", "--edit=smile=1"]
        places = ["--out", str(here / "out"), "--cache", "s3://clips/cache"]
        log = (here / "log").open("w")
        return subprocess.Popen(
            [sys.executable, "-m", "pipeline.commands", "process", str(SAMPLE), *words, *places, *options],
            cwd=ROOT,
            env=os.environ | self.environment | {"XDG_CACHE_HOME": str(here / "home")},
            stdout=log,
            stderr=log,
            text=True,
        )

    def manifest(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / name / "out/manifest.json").read_text())
        return found

    def said(self, name: str) -> str:
        return (self.folder / name / "log").read_text()


@pytest.fixture(scope="module")
def store() -> Iterator[dict[str, str]]:
    with s3_server() as environment, pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        make_bucket("clips")
        yield environment


def shared_checkpoints() -> list[str]:
    import s3fs

    found: list[str] = s3fs.S3FileSystem(use_listings_cache=False).find("clips/cache/checkpoints")
    return found


@pytest.fixture
def machines(store: dict[str, str], tmp_path: Path) -> Machines:
    return Machines(tmp_path, store)


def test_what_one_machine_computes_the_other_reads(machines: Machines) -> None:
    both = {name: machines.start(name) for name in ("a", "b")}
    for name, process in both.items():
        assert process.wait() == 0, machines.said(name)
    one, other = machines.manifest("a"), machines.manifest("b")
    assert one["arrays"] == other["arrays"]
    assert one["output_hashes"]["edited"] == other["output_hashes"]["edited"]
    computed = [{stage["name"] for stage in found["stages"] if not stage["cached"]} for found in (one, other)]
    heavy = {"track", "invert", "finetune", "edit"}
    assert computed[0] & computed[1] & heavy == set(), "something was computed twice"
    assert (computed[0] | computed[1]) >= heavy


def test_the_work_of_a_machine_that_dies_is_taken_up_by_another(machines: Machines) -> None:
    options = ("--steps=400", "--seed=5")
    dying = machines.start("dying", *options)
    began = time.monotonic()
    while not shared_checkpoints():
        assert time.monotonic() - began < 300 and dying.poll() is None, machines.said("dying")
        time.sleep(0.2)
    dying.send_signal(signal.SIGKILL)
    dying.wait()
    heir = machines.start("heir", *options)
    assert heir.wait() == 0, machines.said("heir")
    alone = machines.start("alone", *options, "--cache", str(machines.folder / "own"))
    assert alone.wait() == 0, machines.said("alone")
    one, other = machines.manifest("heir"), machines.manifest("alone")
    assert "going on from the checkpoint" in machines.said("heir")
    assert one["arrays"] == other["arrays"]
