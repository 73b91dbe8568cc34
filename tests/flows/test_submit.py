"""What submitting says of a server that is away, and of one that refuses; nothing is written then."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from flows import submit
from pipeline.commands import __main__ as cli
from pipeline.errors import UserError
from pipeline.watch.submissions import UnreachableError
from tests.flows.served import free_port


@pytest.fixture
def url() -> Iterator[str]:
    """The address of a server that is down."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    found = f"http://127.0.0.1:{free_port()}/api"
    with temporary_settings({PREFECT_API_URL: found}):
        yield found


@pytest.mark.parametrize("status", [403, 408, 429, 500, 502, 503])
def test_a_busy_server_may_grant_it_later(url: str, status: int) -> None:
    with pytest.raises(UnreachableError, match=f"{url} does not answer .*is the server up"), submit._asking():
        answered(status)


@pytest.mark.parametrize(("status", "said"), [(401, "has a password"), (409, "refuses"), (422, "refuses")])
def test_what_is_refused_is_not_asked_again(url: str, status: int, said: str) -> None:
    with pytest.raises(UserError, match=said) as told, submit._asking():
        answered(status)
    assert not isinstance(told.value, UnreachableError)


def answered(status: int) -> None:
    """Raise as a client does whose server has answered with this status."""
    query = httpx.Request("POST", "http://127.0.0.1/api")
    raise httpx.HTTPStatusError("no", request=query, response=httpx.Response(status, request=query))


def test_a_server_that_is_down_is_said_in_one_line_and_nothing_is_written(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    words = ["process-folder", str(folder), "--out", str(tmp_path / "out"), "--wait"]
    assert cli.main(words) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1
    assert said.err.startswith(f"invid: {url} does not answer (")
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize(("out", "said"), [("in", "--out"), ("out", "no such folder")])
def test_folders_that_cannot_be_are_refused(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], out: str, said: str
) -> None:
    if out == "in":
        (tmp_path / "in").mkdir()
    assert cli.main(["process-folder", str(tmp_path / "in"), "--out", str(tmp_path / out)]) == 2
    assert said in capsys.readouterr().err
