"""A password in the URL of a shared store reaches no message, and so no log, manifest or report."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage import CacheDamagedError, SharedStore, StorageError
from storage.errors import without_passwords

WORD = st.text("abcXYZ019%!$&'()*+,;=._~-:@", min_size=1, max_size=20)


@given(WORD, WORD.filter(lambda word: "secret" not in word))
def test_no_password_is_repeated(before: str, host: str) -> None:
    user, host = before.replace(":", "").replace("@", ""), host.replace("@", "").replace(":", "")
    text = f"cannot reach sftp://{user}:se:cr@et@{host}/folder; try s3://bucket/x or http://{host}:80/y"
    found = without_passwords(text)
    assert found == text.replace(":se:cr@et@", ":***@")


def test_errors_of_a_store_name_its_url_without_the_password() -> None:
    with pytest.raises(StorageError) as told:
        SharedStore("nonsense://me:hunter2@host/x")
    assert "hunter2" not in str(told.value) and "nonsense://me:***@host/x" in str(told.value)
    damaged = CacheDamagedError("invert-1", "it is not what was put to sftp://me:hunter2@host/x")
    assert "hunter2" not in f"{damaged} {damaged.what}"
    assert "hunter2" not in str(StorageError("ftp://me:hunter2@host: OSError: ftp://me:hunter2@host refused"))


def test_a_plain_url_or_path_stays_as_it_is(tmp_path: Path) -> None:
    for text in ("s3://bucket/a@b", "http://host:80/x@y", f"{tmp_path}/a:b@c", "mail me@host"):
        assert without_passwords(text) == text
