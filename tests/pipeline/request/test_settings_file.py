"""Settings files: what is too large or too deep is refused before it is built."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UserError
from pipeline.request.settings_file import read_settings, settings_text

REFUSED = {
    "brackets": ("[" * 3000, "lists within lists"),
    "braces": ("{" * 3000, "options within options"),
    "open lists": ("edit: [" * 3000, "lists within lists"),
    "dashes": ("- " * 3000, "lists within lists"),
    "question marks": ("? " * 3000, "lists within lists"),
    "many items": ("edit: [" + "a=1," * 200_000 + "]", "larger than 64 KiB"),
    "many lines": ("edit:\n" + "- a\n" * 10_000, "more than 4000 values"),
    "many names": ("\n".join(f"x{k}: 1" for k in range(4000)), "more than 4000 values"),
    "bombs": ("a: &a [x]\nb: [*a, *a]", "anchors"),
    "twice": ("edit: a=1\nedit: b=1", "'edit' is given twice"),
    "twice, spelled otherwise": ("no-entropy: true\nno_entropy: false", "'no_entropy' is given twice"),
    "a list": ("- preset", "must be a list of options"),
    "a word": ("preset", "must be a list of options"),
    "python": ("preset: !!python/object/apply:os.system ['true']", "cannot be read"),
    "bytes": ("preset: \x00", "cannot be read"),
    "two documents": ("a: 1\n---\nb: 2", "cannot be read"),
    "no yaml": ("a: b: c", "cannot be read"),
}
REFUSED_JSON = {
    "brackets": ("[" * 3000, "lists within lists"),
    "more brackets": ("[" * 60_000, "more than 4000 values"),
    "many items": ('{"edit": [' + ",".join(['"a=1"'] * 5000) + "]}", "more than 4000 values"),
    "twice": ('{"edit": "a=1", "edit": "b=1"}', "'edit' is given twice"),
    "no json": ("{edit: 1}", "cannot be read"),
}


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [("a.yaml", *case) for case in REFUSED.values()] + [("a.json", *case) for case in REFUSED_JSON.values()],
    ids=[f"yaml {name}" for name in REFUSED] + [f"json {name}" for name in REFUSED_JSON],
)
def test_what_is_no_settings_file_is_one_line(tmp_path: Path, name: str, text: str, says: str) -> None:
    (tmp_path / name).write_text(text)
    began = time.process_time()
    with pytest.raises(UserError) as error:
        read_settings(tmp_path / name)
    assert says in str(error.value) and str(error.value).startswith(f"{name}: ")
    assert "\n" not in str(error.value) and len(str(error.value)) < 400
    assert time.process_time() - began < 20


@pytest.mark.parametrize("data", [b"\xff\xfe\x00", b"\x80", b"edit: \xc3\x28"])
def test_bytes_that_are_no_text(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.yaml").write_bytes(data)
    with pytest.raises(UserError, match=r"a\.yaml"):
        read_settings(tmp_path / "a.yaml")


@pytest.mark.parametrize("name", ["a.yaml", "a.json"])
def test_a_pipe_is_not_waited_for(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(UserError, match="not a regular file"):
        read_settings(tmp_path / name)


@given(st.binary(max_size=300) | st.text(max_size=300).map(lambda text: text.encode(errors="replace")))
def test_any_file_is_a_mapping_or_one_line(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    for suffix in (".yaml", ".json"):
        path = tmp_path_factory.getbasetemp() / f"any{suffix}"
        path.write_bytes(data)
        try:
            assert isinstance(read_settings(path), dict)
        except UserError as error:
            assert "\n" not in str(error)


def test_empty_files_and_comments(tmp_path: Path) -> None:
    for text in ("", "# nothing\n", "{}", "null"):
        (tmp_path / "a.yaml").write_text(text)
        assert read_settings(tmp_path / "a.yaml") == {}
    (tmp_path / "a.json").write_text("\ufeff{}", encoding="utf-8")
    assert read_settings(tmp_path / "a.json") == {}


VALUES = st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False) | st.text(max_size=20)
CLEAN = VALUES.filter(lambda value: not isinstance(value, str) or all(map(str.isprintable, value)))


@given(st.dictionaries(st.from_regex(r"[a-z]{1,9}", fullmatch=True), CLEAN | st.lists(CLEAN, max_size=4)))
def test_what_is_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, Any]
) -> None:
    path = tmp_path_factory.getbasetemp() / "back.yaml"
    path.write_text(settings_text(values), encoding="utf-8")
    assert read_settings(path) == values
