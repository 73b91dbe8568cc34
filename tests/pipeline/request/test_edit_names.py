"""What an edit can be called where several sources have directions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from inverters.editing.direction_files import save_directions
from inverters.editing.directions import Direction, Directions
from inverters.errors import FingerprintError
from pipeline.errors import UnknownNameError, UserError
from pipeline.request.edit_names import digests_of, known_directions
from pipeline.request.edits import MOST_LISTED, Edit, check_names
from tests.inverters.tiny import tiny_generator


@pytest.fixture
def generator():
    made = tiny_generator()
    made.card = replace(made.card, name="own", directions={"smile": torch.ones(16), "age": torch.ones(16)})
    return made


def file_of(path: Path, fingerprint: str | None = "tiny", **steps: float) -> str:
    named = {name: Direction(torch.full((16,), value), "", "") for name, value in steps.items()}
    save_directions(path, Directions(named, fingerprint, "g"))
    return str(path)


def first(direction: Direction) -> float:
    return float(torch.as_tensor(direction.step)[0])


def test_a_name_that_one_source_has_stands_alone(generator, tmp_path: Path) -> None:
    mine = file_of(tmp_path / "mine.safetensors", smile=2.0, beard=3.0)
    known = known_directions(generator, [mine])
    assert {name: first(one) for name, one in known.items()} == {
        "own.smile": 1.0,
        "age": 1.0,
        "mine.smile": 2.0,
        "beard": 3.0,
    }
    assert set(known_directions(generator, [])) == {"smile", "age"}
    with pytest.raises(UnknownNameError, match=r"'smile' can mean several; write mine\.smile or own\.smile"):
        check_names([Edit("smile", 1.0)], known)


def test_a_file_named_like_its_direction_does_not_hide_the_generators(generator, tmp_path: Path) -> None:
    np.save(tmp_path / "smile.npy", np.full((1, 16), 5.0))
    known = known_directions(generator, [str(tmp_path / "smile.npy")])
    assert set(known) == {"own.smile", "smile.smile", "age"} and first(known["smile.smile"]) == 5.0


def test_files_that_do_not_say_whose_they_are_are_told_of(generator, tmp_path: Path) -> None:
    notes: list[str] = []
    np.save(tmp_path / "grin.npy", np.ones(16))
    known_directions(
        generator, [str(tmp_path / "grin.npy"), file_of(tmp_path / "a.safetensors", x=1.0)], notes.append
    )
    assert len(notes) == 1 and "grin.npy does not say" in notes[0]
    with pytest.raises(FingerprintError):
        known_directions(generator, [file_of(tmp_path / "b.safetensors", "another", x=1.0)])


def test_two_sources_of_one_name_are_refused(generator, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    one, two = (file_of(folder / "x.safetensors", a=1.0) for folder in (tmp_path, tmp_path / "sub"))
    for files in ([one, two], [file_of(tmp_path / "own.safetensors", a=1.0)]):
        with pytest.raises(UserError, match="rename the file"):
            known_directions(generator, files)


def test_a_basis_does_not_flood_the_message(generator, tmp_path: Path) -> None:
    np.save(tmp_path / "pca.npy", np.random.default_rng(0).normal(size=(90, 1, 16)))
    known = known_directions(generator, [str(tmp_path / "pca.npy")])
    check_names([Edit("pca.89", 1.0)], known)
    with pytest.raises(UnknownNameError, match=f"and {92 - MOST_LISTED} more$"):
        check_names([Edit("pca.90", 1.0)], known)


def test_digests_follow_the_content_not_the_file(generator, tmp_path: Path) -> None:
    edits = (Edit("beard", 1.0), Edit("age", 1.0, 0.5, None))

    def digests(name: str, value: float) -> dict[str, str]:
        return digests_of(
            edits, known_directions(generator, [file_of(tmp_path / name, beard=value, x=value)])
        )

    first_time = digests("a.safetensors", 1.0)
    assert set(first_time) == {"beard", "age"}
    assert digests("b.safetensors", 1.0) == first_time
    assert digests("a.safetensors", 1.5) | {"beard": ""} == first_time | {"beard": ""}
    assert digests("a.safetensors", 1.5)["beard"] != first_time["beard"]
