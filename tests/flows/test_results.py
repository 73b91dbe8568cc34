"""The server of results gives out what manifests name, to its own host, and nothing else."""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows import results
from flows.api import PASSWORDS, ServeError
from flows.roots import VARIABLE
from pipeline.errors import UserError
from pipeline.report.page import page_script

RUN = uuid4()
FILM = bytes(range(256)) * 40


class Prefect:
    """Knows one run, whose results lie in a folder."""

    def __init__(self, out: Path) -> None:
        self.out = out

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        if (method, path) != ("GET", f"flow_runs/{RUN}"):
            raise ServeError(f"{path}: 404")
        return {"parameters": {"out": str(self.out)}}


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    out = tmp_path / "out"
    out.mkdir()
    (out / "report.html").write_text("<title>é</title>")
    (out / "edited (1).mp4").write_bytes(FILM)
    (out / "notes.txt").write_text("not of the job")
    (tmp_path / "secret.txt").write_text("secret")
    (out / "link.mp4").symlink_to(tmp_path / "secret.txt")
    outputs = {
        "report": "report.html",
        "edited": "edited (1).mp4",
        "view": "link.mp4",
        "removal": "../secret.txt",
        "gone": "gone.mp4",
    }
    manifest = {
        "input": {"path": "a.mp4", "width": 1, "height": 1},
        "frames": {"total": 1},
        "settings": {"edit": {"edits": [], "view": None, "remove_occluder": False}},
        "metrics": {"reconstruction": {"psnr": None, "ssim": None}},
        "per_frame": {"time": [0]},
        "arrays": {},
        "cache": {"root": "/", "keys": {}},
        "outputs": outputs,
    }
    (out / "manifest.json").write_text(json.dumps(manifest))
    for name in (*PASSWORDS, VARIABLE):
        monkeypatch.delenv(name, raising=False)
    server = results.ResultsServer("127.0.0.1", 0, Prefect(out))  # type: ignore[arg-type]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/runs/{RUN}"
    server.shutdown()
    server.server_close()


def test_what_the_manifest_names_is_given_and_nothing_else(url: str) -> None:
    page = httpx.get(f"{url}/report.html")
    assert page.status_code == 200 and page.text == "<title>é</title>"
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert httpx.get(f"{url}/edited%20%281%29.mp4").content == FILM
    assert httpx.get(f"{url}/manifest.json").json()["outputs"]["report"] == "report.html"
    names = ("notes.txt", "link.mp4", "..%2Fsecret.txt", "%2e%2e/secret.txt", "gone.mp4", "", "%00", ".")
    assert {httpx.get(f"{url}/{name}").status_code for name in names} == {404}
    other = url.replace(str(RUN), str(uuid4()))
    assert httpx.get(f"{other}/report.html").status_code == 404
    assert httpx.get(url.replace(str(RUN), "x" * 36) + "/report.html").status_code == 404
    assert httpx.post(f"{url}/report.html").status_code == 501


def test_parts_of_a_film_can_be_asked_for(url: str) -> None:
    film = f"{url}/edited%20%281%29.mp4"
    for header, part in {
        "bytes=0-9": FILM[:10],
        "bytes=100-": FILM[100:],
        "bytes=-5": FILM[-5:],
        "bytes=10200-99999": FILM[10200:],
        "pages=1": FILM,
    }.items():
        answer = httpx.get(film, headers={"Range": header})
        assert answer.content == part and answer.status_code == (200 if part == FILM else 206), header
    beyond = httpx.get(film, headers={"Range": "bytes=99999-"})
    assert beyond.status_code == 416
    head = httpx.head(film)
    assert head.headers["content-length"] == str(len(FILM)) and not head.content


@given(st.binary(max_size=300), st.integers(0, 400), st.one_of(st.none(), st.integers(0, 400)))
def test_a_range_is_that_of_python(data: bytes, first: int, last: int | None) -> None:
    header = f"bytes={first}-{'' if last is None else last}"
    wanted = data[first:] if last is None else data[first : last + 1]
    if not wanted:
        with pytest.raises(results.NotServed):
            results.asked_range(header, len(data))
    else:
        found = results.asked_range(header, len(data))
        assert found is not None and bytes(data[k] for k in found) == wanted


def test_pages_of_others_and_those_without_the_password_get_nothing(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = f"{url}/report.html"
    port = report.split(":")[2].partition("/")[0]
    for host, status in {"evil.example": 403, f"localhost:{port}": 200, "10.0.0.7": 403, "": 403}.items():
        assert httpx.get(report, headers={"Host": host}).status_code == status, host
    for origin, status in {
        "http://evil.example": 403,
        "null": 403,
        "http://127.0.0.1:8000": 403,
        f"http://localhost:{port}": 200,
    }.items():
        answer = httpx.get(report, headers={"Origin": origin})
        assert answer.status_code == status, origin
        assert "access-control-allow-origin" not in answer.headers
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    monkeypatch.setenv(PASSWORDS[0], "admin:täglich")
    assert httpx.get(report).status_code == 401
    assert httpx.get(report, auth=("admin", "wrong")).status_code == 401
    right = base64.b64encode("admin:täglich".encode()).decode()
    assert httpx.get(report, headers={"Authorization": f"Basic {right}"}).status_code == 200


def test_nothing_outside_of_the_roots_is_given(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, f"{tmp_path}/elsewhere:{tmp_path}/o")
    assert httpx.get(f"{url}/report.html").status_code == 404
    monkeypatch.setenv(VARIABLE, str(tmp_path / "out"))
    assert httpx.get(f"{url}/report.html").status_code == 200


def test_a_script_of_others_does_not_run(url: str) -> None:
    """Only the script whose hash the header names does: that of our reports."""
    policy = httpx.get(f"{url}/report.html").headers["content-security-policy"]
    (allowed,) = re.findall(r"script-src ([^;]+);", policy)
    assert allowed == f"'sha256-{page_script()[1]}'" and "default-src 'none'" in policy


def test_beyond_this_machine_it_needs_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PASSWORDS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.argv", ["results", "--host", "0.0.0.0"])
    with pytest.raises(UserError, match="set PREFECT_API_AUTH_STRING"):
        results.main()
