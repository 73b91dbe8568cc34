"""The fuzzer: what it counts as what, that a case is the same each time, and 500 cases without a fault."""

from __future__ import annotations

import ctypes
import io
import os
import pickle
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.fuzz import fuzz, summary
from benchmarks.fuzz_bytes import MUTATIONS, mutated
from benchmarks.fuzz_cases import Carrier, Kind, Place, carriers_in, player, write_case
from benchmarks.fuzz_clips import PICTURES
from benchmarks.fuzz_formats import FORMATS
from benchmarks.fuzz_runner import Case, Limits, Outcome, run
from pipeline.errors import UserError

LIMITS = Limits(seconds=3.0, memory=300 << 20)


def refuse(case: Case) -> bool:
    raise UserError("this file is not taken")


def refuse_at_length(case: Case) -> bool:
    raise UserError("x" * 10_000)


def stumble(case: Case) -> bool:
    return bool(1 / 0)


def leave(case: Case) -> bool:
    raise SystemExit(0)


def crash(case: Case) -> bool:
    return bool(ctypes.string_at(0))


def wait(case: Case) -> bool:
    os.mkfifo(case.work / "fifo")
    return bool((case.work / "fifo").read_bytes())


def grow(case: Case) -> bool:
    held = [np.ones(1 << 23) for _ in range(400)]
    time.sleep(60)
    return bool(held)


def ask_for_all(case: Case) -> bool:
    return bool(np.empty(1 << 45).size)


def write_to_the_current_folder(case: Case) -> bool:
    Path("new.txt").write_text("x")
    return True


def write_home(case: Case) -> bool:
    (Path.home() / "new.txt").write_text("x")
    raise UserError("but it was written")


def follow_a_link(case: Case) -> bool:
    (case.work / "link").symlink_to("../../outside/secret.txt")
    with (case.work / "link").open("r+b") as file:
        file.write(b"other")
    return True


def spoil_the_input(case: Case) -> bool:
    (case.inputs / "clip.mp4").write_bytes(b"same")
    return True


def write_its_own(case: Case) -> bool:
    (case.work / "cache").mkdir()
    (case.work / "cache" / "x").write_text("x")
    return True


PLANTED: list[tuple[Callable[[Case], bool], str, bool]] = [
    (lambda case: True, "read", False),
    (lambda case: False, "refused", False),
    (refuse, "refused", False),
    (write_its_own, "read", False),
    (refuse_at_length, "tracebacks", False),
    (stumble, "tracebacks", False),
    (leave, "tracebacks", False),
    (crash, "tracebacks", False),
    (wait, "hangs", False),
    (grow, "over_memory", False),
    (ask_for_all, "over_memory", False),
    (write_to_the_current_folder, "read", True),
    (write_home, "refused", True),
    (follow_a_link, "read", True),
    (spoil_the_input, "read", True),
]


def test_each_planted_fault_is_counted_as_what_it_is(tmp_path: Path) -> None:
    def play(case: Case) -> bool:
        (case.inputs / "clip.mp4").write_bytes(b"same")
        case.tell("planted", str(case.number))
        return PLANTED[case.number][0](case)

    waits = [number for number, (fault, _, _) in enumerate(PLANTED) if fault is wait]
    others = sorted(set(range(len(PLANTED))) - set(waits))
    patient = replace(LIMITS, seconds=120.0)  # a busy machine makes none of them a hang
    found = [
        *run(others, play, tmp_path / "others", patient, 2, (UserError,)),
        *run(waits, play, tmp_path / "waits", LIMITS, 2, (UserError,)),
    ]
    found.sort(key=lambda one: one.case)
    assert [one.what for one in found] == [what for _, what, _ in PLANTED]
    assert [bool(one.outside) for one in found] == [outside for _, _, outside in PLANTED]
    assert all(one.kind == "planted" and one.recipe == str(one.case) for one in found)
    by_name = {PLANTED[one.case][0].__name__: one for one in found}
    assert by_name["stumble"].line.startswith("ZeroDivisionError") and "1 / 0" in by_name["stumble"].text
    assert by_name["crash"].line.startswith("died by SIGSEGV")
    assert "read_bytes" in by_name["wait"].text
    assert by_name["spoil_the_input"].outside == ("inputs/clip.mp4",)
    assert by_name["write_home"].outside == ("home", "home/new.txt")
    counts = summary(found, seed=7)
    assert (counts["cases"], counts["refused"], counts["read"]) == (15, 3, 5)
    assert (counts["tracebacks"], counts["hangs"]) == (4, 1)
    assert (counts["over_memory"], counts["outside_writes"]) == (2, 4)
    assert sum(fault["count"] for fault in counts["faults"]) == 11


def test_nothing_is_left_running(tmp_path: Path) -> None:
    def play(case: Case) -> bool:
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        case.tell("child", str(child.pid))
        return True

    (found,) = run([1], play, tmp_path, LIMITS)
    began = time.monotonic()
    while Path(f"/proc/{found.recipe}").exists() and "Z" not in state_of(found):
        assert time.monotonic() - began < 60
        time.sleep(0.05)


def state_of(found: Outcome) -> str:
    try:
        return Path(f"/proc/{found.recipe}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return "Z"


def test_a_case_is_the_same_for_the_same_seed_and_number(tmp_path: Path) -> None:
    def load(place: Place) -> bool:
        seen = [(path.name, path.read_bytes()) for path in place.inputs.rglob("*") if path.is_file()]
        raise UserError(repr([place.main.name, sorted(seen)])[:400])

    carriers = {
        "x": [Carrier("one", {"inputs/main.bin": bytes(range(100)), "inputs/b.json": b'{"a": [1, 2]}'})]
    }
    found = []
    for number, seed in enumerate((1, 1, 2)):
        folder = tmp_path / str(number)
        play = player({"x": Kind("x", 1, load)}, carriers, seed)
        outcomes = run(range(12), play, folder, LIMITS, 2, (UserError,))
        found.append(sorted((one.case, one.recipe, one.line) for one in outcomes))
    assert found[0] == found[1] != found[2]
    assert len({recipe for _, recipe, _ in found[0]}) > 8


def packed(suffix: str) -> bytes:
    """A small file of a format."""
    file = io.BytesIO()
    if suffix == ".tar":
        with tarfile.open(fileobj=file, mode="w") as archive:
            archive.addfile(tarfile.TarInfo("manifest.json"))
    elif suffix in (".npz", ".npy"):
        np.savez(file, a=np.ones(3)) if suffix == ".npz" else np.save(file, np.ones(3))
    elif suffix in (".png", ".apng"):
        Image.new("L", (8, 8)).save(file, "png")
    elif suffix == ".pkl":
        pickle.dump({"a": [1, (2.5, "b")]}, file)
    else:
        file.write(b'{"a": [1, {"b": null}]}')
    return file.getvalue()


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("data", [b"", b"x", None, bytes(range(256)) * 4])
def test_any_bytes_can_be_mutated_again_and_again(suffix: str, data: bytes | None) -> None:
    given = packed(suffix) if data is None else data
    for seed in range(30):
        rng = np.random.default_rng(seed)
        changed = given
        for _ in range(3):
            changed, what = FORMATS[suffix](rng, changed)
            assert isinstance(changed, bytes) and what
        assert isinstance(mutated(rng, changed)[0], bytes)


def test_each_mutation_changes_something() -> None:
    data = b"12 " + bytes(range(256)) * 2
    for mutation in MUTATIONS:
        assert any(mutation(np.random.default_rng(seed), data) != data for seed in range(10)), (
            mutation.__name__
        )


@pytest.fixture
def computed() -> Iterator[None]:
    """Threads of this process have computed, as in a whole run of the tests; their number is put back."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    (torch.ones(600, 600) @ torch.ones(600, 600)).exp()
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.usefixtures("computed")
def test_undamaged_carriers_are_read(tmp_path: Path) -> None:
    from benchmarks.fuzz_loaders import DECLARED, KINDS

    next(iter(fuzz([0], 0, tmp_path, Limits(), 1)))
    carriers = carriers_in(tmp_path / "carriers")
    given = [
        (name, kind, one)
        for name, kind in KINDS.items()
        for one in carriers[kind.carriers]
        if name not in ("decord", "watched") and one.name.startswith(kind.only)  # these take fewer kinds
        if name != "ingest" or one.name not in (*PICTURES, "moving.webp", "sequence")  # nor does --ingest
    ]

    def play(case: Case) -> bool:
        name, kind, one = given[case.number]
        main = write_case(case, one.files, {}, "main")
        case.tell(name, one.name)
        return kind.load(Place(main, case.inputs, case.work, True))

    found = run(range(len(given)), play, tmp_path, Limits(), 2, DECLARED)
    wrong = [(one.kind, one.recipe, one.what, one.line) for one in found if one.what != "read" or one.outside]
    assert not wrong


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.usefixtures("computed")
def test_no_file_makes_a_reader_fail(tmp_path: Path) -> None:
    found = summary(list(fuzz(range(500), 500, tmp_path, Limits())), 500)
    bad = {name: found[name] for name in ("tracebacks", "hangs", "over_memory", "outside_writes")}
    assert not any(bad.values()), (bad, found["faults"])
    assert found["cases"] == 500 and found["read"] > 50 and found["refused"] > 100
