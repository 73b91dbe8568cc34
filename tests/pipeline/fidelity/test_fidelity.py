"""`invid bench fidelity`: what runs, what is kept, and what is refused. Jobs run with stand-ins here."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from inverters.methods.table import ENCODERS, encoder_file, find_method
from inverters.people.occluders import OCCLUDERS
from pipeline.commands import __main__ as cli
from pipeline.errors import UserError
from pipeline.fidelity.clips import FRAMES, QUICK_FRAMES, made_clips
from pipeline.fidelity.methods import BENCH_METHODS, select_methods
from pipeline.fidelity.running import FailedRunError, Run
from pipeline.fidelity.table import MEASURED, as_text, means
from pipeline.request.checks import check_settings
from pipeline.request.options import parse
from pipeline.scoring.score import KEYS
from tests.pipeline.fakes import Fakes, install
from tests.pipeline.fidelity.truths import write_known_clip


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    folder = tmp_path / "clips"
    folder.mkdir()
    for name in ("one", "two"):
        write_known_clip(folder, name)
    return folder


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Jobs run in this process, with stand-ins; the list has what ran."""
    fakes: Fakes = install(monkeypatch)
    fakes.no_face, fakes.interpolated = (), ()
    ran: list[str] = []

    def run_job(self: Run, place: Path) -> float:
        ran.append(f"{self.clip.name} {self.method.name}")
        words = ["--quiet", "--out", str(place / "out"), "--cache", str(place / "cache")]
        if code := cli.process_video([str(self.clip.video), *self.words, *words]):
            raise FailedRunError(f"{self.method.name}: code {code}")
        return 100.0

    monkeypatch.setattr(Run, "_run_job", run_job)
    return ran


def bench(clips: Path, out: Path, *words: str) -> int:
    given = ["--only-clips", "--clips", str(clips), "--out", str(out), "--methods", "w,in-n-out"]
    return cli.main(["bench", "fidelity", *given, *words])


def test_every_method_on_every_clip(
    clips: Path, tmp_path: Path, jobs: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench(clips, tmp_path / "out", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told == json.loads((tmp_path / "out" / "fidelity.json").read_text())
    assert jobs == ["one w", "one in-n-out", "two w", "two in-n-out"]
    assert [(row["method"], row["preset"], row["clips"]) for row in told["rows"]] == [
        ("w", "draft", 2),
        ("in-n-out", "draft", 2),
    ]
    assert all(set(MEASURED) <= set(row) for row in told["rows"] + told["clips"])
    assert {*KEYS, "seconds", "memory_mb"} == set(MEASURED)
    assert [row["psnr_true_edit"] for row in told["clips"]] != [None] * 4
    assert all(row["memory_mb"] == 100 and row["seconds"] > 0 for row in told["clips"])
    for name in ("one", "two"):
        with Image.open(tmp_path / "out" / "sheets" / f"{name}.png") as sheet:
            assert sheet.height > 3 * 100  # the truth, and two methods
    assert not list((tmp_path / "out" / "jobs").iterdir())


def test_what_is_there_is_not_run_again(
    clips: Path, tmp_path: Path, jobs: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench(clips, tmp_path / "out") == 0
    table = capsys.readouterr().out
    jobs.clear()
    assert bench(clips, tmp_path / "out") == 0
    assert not jobs
    assert capsys.readouterr().out == table
    (tmp_path / "out" / "rows" / "two" / "w.json").write_text("{half")
    assert bench(clips, tmp_path / "out") == 0
    assert jobs == ["two w"]
    jobs.clear()
    assert bench(clips, tmp_path / "out", "--preset", "fast") == 0
    assert len(jobs) == 4  # other conditions are other rows


def test_an_interrupted_run_goes_on(
    clips: Path, tmp_path: Path, jobs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Run._run_job

    def interrupted(self: Run, place: Path) -> float:
        if self.clip.name == "two":
            raise KeyboardInterrupt
        return whole(self, place)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "_run_job", interrupted)
        assert bench(clips, tmp_path / "out") == 130
    assert not (tmp_path / "out" / "fidelity.json").exists()
    jobs.clear()
    assert bench(clips, tmp_path / "out") == 0
    assert jobs == ["two w", "two in-n-out"]


def test_a_method_that_fails_is_named_and_the_others_run(
    clips: Path,
    tmp_path: Path,
    jobs: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole = Run._run_job

    def failing(self: Run, place: Path) -> float:
        if self.method.name == "w":
            raise FailedRunError(f"w on {self.clip.name}: memory does not suffice")
        return whole(self, place)

    monkeypatch.setattr(Run, "_run_job", failing)
    assert bench(clips, tmp_path / "out", "--json") == 1
    told = json.loads(capsys.readouterr().out)
    assert told["failed"] == [f"w on {name}: memory does not suffice" for name in ("one", "two")]
    assert [row["method"] for row in told["rows"]] == ["in-n-out"]


def test_two_at_a_time_give_the_same_scores(clips: Path, tmp_path: Path, jobs: list[str]) -> None:
    for number in (1, 2):
        assert bench(clips, tmp_path / str(number), "--methods", "w", "--jobs", str(number)) == 0
    one, two = (json.loads((tmp_path / n / "fidelity.json").read_text())["clips"] for n in "12")
    for first, second in zip(one, two, strict=True):
        assert {k: first[k] for k in KEYS} == {k: second[k] for k in KEYS}


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--methods", "w,magic"], ("unknown method 'magic'", "known: w, w+")),
        (["--preset", "best"], ("unknown preset 'best'", "draft")),
        (["--jobs", "0"], ("--jobs must be 1 or more",)),
        (["--seed", "-1"], ("--seed must be 0 or more",)),
        (["--only-clips"], ("--only-clips", "give --clips DIR")),
        (["--clips", "bare"], ("bare", "there is no", "invid sample")),
        (["--clips", "empty"], ("empty", "holds no clips")),
        (["--clips", "nowhere"], ("nowhere", "no such folder")),
        (["--clips", "clips", "--clips", "clips/one.mp4"], ("two clips are named 'one'",)),
        (["--lpips", "resnet"], ("resnet", "alex")),
        (["--identity", "clips/one.mp4"], ("one.mp4", "known are")),
        (["--generator", "none.pkl"], ("none.pkl", "no such file")),
    ],
)
def test_bad_requests_are_one_line_and_write_nothing(
    clips: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: Sequence[str],
    parts: tuple[str, ...],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "bare").mkdir()
    shutil.copyfile(clips / "one.mp4", tmp_path / "bare" / "one.mp4")
    before = sorted(tmp_path.rglob("*"))
    assert cli.main(["bench", "fidelity", *words]) == 2
    told = capsys.readouterr()
    assert told.out == "" and told.err.count("\n") == 1 and told.err.startswith("invid: ")
    assert all(part in told.err for part in parts), told.err
    assert sorted(tmp_path.rglob("*")) == before


def test_an_unknown_benchmark_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", "speed"]) == 2
    assert "unknown benchmark 'speed'; known: fidelity" in capsys.readouterr().err


def test_clips_are_all_occluders_before_two_people_each() -> None:
    found = made_clips(1, quick=False)
    assert [clip.occluder for clip in found] == [*OCCLUDERS, *OCCLUDERS]
    assert len({clip.seed for clip in found}) == 2 * len(OCCLUDERS)
    assert all(clip.frames == FRAMES == clip.settings.frames for clip in found)
    assert not {clip.seed for clip in found} & {clip.seed for clip in made_clips(2, quick=False)}
    assert made_clips(1, quick=False, people=1) == found[: len(OCCLUDERS)]
    quick = made_clips(1, quick=True)
    assert len({(clip.occluder, clip.seed) for clip in quick}) == 2 == len({c.occluder for c in quick})
    assert all(clip.frames == QUICK_FRAMES == clip.settings.frames for clip in quick)
    with pytest.raises(UserError, match="--seed"):
        made_clips(2**24, quick=False)


def test_every_method_is_a_request_that_can_be_met() -> None:
    assert select_methods([]) == list(BENCH_METHODS)
    for method in BENCH_METHODS:
        check_settings(parse(["clip.mp4", *method.words]).settings)
    methods = {method.words[1] for method in BENCH_METHODS}
    assert len({Path(m.file_name).name for m in BENCH_METHODS}) == len(BENCH_METHODS)
    assert all(Path(m.file_name).name == m.file_name for m in BENCH_METHODS)  # no folder of its own
    shipped = {name for name in ENCODERS if encoder_file(name).is_file()}
    assert methods == {"w", "w+", "pti", "pose-opt", "vive3d", "hfgi3d", "in-n-out"} | shipped


values = st.one_of(st.none(), st.floats(-100, 100))


@given(st.lists(st.tuples(st.sampled_from("abc"), values), max_size=12))
def test_means_are_over_the_clips_that_have_a_value(found: list[tuple[str, float | None]]) -> None:
    rows = [dict.fromkeys(MEASURED) | {"method": m, "preset": "draft", "seconds": v} for m, v in found]
    table = means(rows, ["c", "a", "b"])
    assert [row["method"] for row in table] == [m for m in "cab" if m in {name for name, _ in found}]
    for row in table:
        own = [v for m, v in found if m == row["method"] and v is not None]
        assert row["clips"] == sum(m == row["method"] for m, _ in found)
        assert row["seconds"] == (None if not own else pytest.approx(math.fsum(own) / len(own), abs=1e-4))
    assert len(as_text(table).splitlines()) == 1 + len(table)


def test_a_quick_look_takes_a_quarter_of_each_methods_own_steps() -> None:
    for compared in BENCH_METHODS:
        chosen = parse(["clip.mp4", *compared.quick.words]).settings
        if chosen.invert.method in ENCODERS:
            assert compared.quick == compared and chosen.invert.steps is None
            continue
        method = find_method(chosen.invert.method)
        draft = method.presets["draft"]
        whole = method.steps(draft, QUICK_FRAMES)
        assert chosen.invert.steps == pytest.approx(whole / 4, abs=1), compared.name
        as_is = "--finetune-steps" in compared.words
        assert chosen.finetune.enabled != as_is
        assert chosen.finetune.steps == (0 if as_is else draft.tune.steps // 4)
