"""What a run may read and write: absolute paths, below the roots where there are any."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flows.roots import refuse_where_fenced, request_of_run, words_of_folder_run
from pipeline.errors import UserError
from tests.pipeline.fakes import write_clip


@pytest.fixture
def roots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folders `clips` and `results`, which are roots, and `secret`, which is none."""
    for name in ("clips", "results", "secret"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("INVID_ROOTS", f"{tmp_path}/clips:{tmp_path}/results:s3://bucket/invid")
    write_clip(tmp_path / "clips/a.mp4")
    return tmp_path


def ask(roots: Path, **changes: Any) -> Any:
    given = {"video": roots / "clips/a.mp4", "out": roots / "results/a", "cache": None, "options": None}
    return request_of_run(**{**given, "settings": None, **changes})  # type: ignore[arg-type]


def test_what_lies_below_the_roots_is_taken(roots: Path) -> None:
    for cache in (None, f"{roots}/results/cache", "s3://bucket/invid", "s3://bucket/invid/deeper"):
        request = ask(roots, cache=cache, options=["--edit", "smile=1"])
        assert request.out == roots / "results/a" and request.cache == cache
    assert ask(roots, settings={"out": "elsewhere"}).out == roots / "results/a"


def test_a_folders_run_has_its_settings_as_words(roots: Path) -> None:
    folder, out = roots / "clips", roots / "results"
    asked = {"edit": ["smile=1.5"], "max-frames": 2, "steps": None}
    words = words_of_folder_run(folder, out, ["--preset", "fast"], asked)
    assert words == ["--preset", "fast", "--edit=smile=1.5", "--max-frames=2"]
    for wrong in ({"cache": f"{roots}/secret"}, {"directions": ["d.safetensors"]}, {"edits": []}):
        with pytest.raises(UserError):
            words_of_folder_run(folder, out, [], wrong)
    for changed in ((roots / "secret", out), (folder, roots / "secret"), (Path("clips"), out)):
        with pytest.raises(UserError):
            words_of_folder_run(*changed, [])


@pytest.mark.parametrize(
    "changes",
    [
        {"video": "secret/a.mp4"},
        {"video": "clips/../secret/a.mp4"},
        {"video": "clips/link.mp4"},
        {"video": "clips/pictures"},
        {"video": "clips/pictures/p.##.png"},
        {"out": "secret/a"},
        {"out": "clips/leads/a"},
        {"cache": "secret/cache"},
        {"cache": "s3://bucket/invidious"},
        {"cache": "s3://bucket/invid/../other"},
        {"cache": "http://169.254.169.254/latest"},
        {"options": ["--cameras", "secret/dataset.json"]},
        {"options": ["--generator=secret/g.pkl"]},
        {"options": ["--detector", "3ddfa:secret/model"]},
        {"options": ["--cache", "secret/cache"]},
        {"settings": {"directions": ["secret/d.safetensors"]}},
        {"settings": {"occluder_masks": "secret"}},
    ],
    ids=str,
)
def test_what_lies_outside_is_refused_in_one_line(roots: Path, changes: dict[str, Any]) -> None:
    (roots / "clips/link.mp4").symlink_to(roots / "secret/a.mp4")
    (roots / "clips/leads").symlink_to(roots / "secret")
    (roots / "clips/pictures").mkdir()
    (roots / "clips/pictures/p.01.png").symlink_to(roots / "secret/p.png")

    def placed(value: Any) -> Any:
        if isinstance(value, list):
            return [placed(one) for one in value]
        if isinstance(value, dict):
            return {key: placed(one) for key, one in value.items()}
        return value if "://" in value else value.replace("secret", f"{roots}/secret")

    given = {k: Path(roots / v) if k in ("video", "out") else placed(v) for k, v in changes.items()}
    with pytest.raises(UserError) as told:
        ask(roots, **given)
    assert "INVID_ROOTS" in str(told.value) and "\n" not in str(told.value)


def test_without_roots_any_absolute_path_is_taken_and_no_relative_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("INVID_ROOTS", raising=False)
    assert ask(tmp_path, cache="s3://anywhere/x").video == tmp_path / "clips/a.mp4"
    for changes in (
        {"video": Path("a.mp4")},
        {"out": Path("results")},
        {"cache": "cache"},
        {"options": ["--generator", "g.pkl"]},
    ):
        with pytest.raises(UserError, match="give an absolute path"):
            ask(tmp_path, **changes)


def test_no_option_of_a_run_reads_a_file_before_it_is_checked(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("password: hunter2\n")
    for words in (["--settings", str(secret)], [f"--settings={secret}"], ["--print-settings"], ["--help"]):
        with pytest.raises(UserError) as told:
            ask(tmp_path, options=words)
        assert "hunter2" not in str(told.value)
        with pytest.raises(UserError):
            words_of_folder_run(tmp_path, tmp_path, words)


def test_a_password_in_a_caches_url_is_refused_and_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="leave the password out") as told:
        ask(tmp_path, cache="sftp://me:hunter2@host/cache")
    assert "hunter2" not in str(told.value)


def test_flows_whose_options_name_paths_freely_are_not_run_within_roots(roots: Path) -> None:
    with pytest.raises(UserError, match="INVID_ROOTS is set"):
        refuse_where_fenced("bench")
