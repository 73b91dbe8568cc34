"""A page of another origin, in a real browser, tries to run a command on the worker."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.flows.served import SAMPLE, Served

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt install chromium"),
]

PAGE = """<!doctype html><body><form id="form" method="post" target="sink"
 enctype="text/plain" action="API/deployments/ID/create_flow_run"><input name='BODY_HEAD' value='BODY_TAIL'>
</form><iframe name="sink"></iframe><script>
const api = "API", body = JSON.stringify(BODY), said = {};
const path = api + "/deployments/ID/create_flow_run";
const tried = async (name, work) => {
  try { said[name] = await work(); } catch (error) { said[name] = "refused"; }
};
const socket = (path) => new Promise((done, refuse) => {
  const found = new WebSocket(api.replace("http", "ws") + path, "prefect");
  found.onopen = () => done("open");
  found.onerror = refuse;
});
const json = { "Content-Type": "application/json" };
(async () => {
  await tried("json", async () => (await fetch(path, { method: "POST", headers: json, body })).status);
  await tried("plain", async () => (await fetch(path, { method: "POST", mode: "no-cors", body })).type);
  await tried("token", async () => {
    const token = await (await fetch(api + "/csrf-token?client=page")).json();
    const headers = { ...json, "Prefect-Csrf-Client": "page", "Prefect-Csrf-Token": token.token };
    return (await fetch(path, { method: "POST", headers, body })).status;
  });
  await tried("read", async () => (await fetch(api + "/admin/version")).status);
  await tried("events in", () => socket("/events/in"));
  await tried("events out", () => socket("/events/out"));
  document.getElementById("form").submit();
  await new Promise((done) => setTimeout(done, 2000));
  await fetch("/said", { method: "POST", body: JSON.stringify(said) });
})();
</script></body>"""


class Page:
    """A page that attacks the service, on a server of its own; its command would make the file `marker`."""

    def __init__(self, served: Served, folder: Path) -> None:
        self.marker = folder / "owned"
        self.said: dict[str, Any] = {}
        self.told = threading.Event()
        page, text = self, self._text(served, folder).encode()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(text)

            def do_POST(self) -> None:
                page.said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self._answer(b"")
                page.told.set()

            def _answer(self, data: bytes) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *words: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def _text(self, served: Served, folder: Path) -> str:
        body = {
            "name": "attack",
            "parameters": {"video": str(SAMPLE), "out": str(folder / "out")},
            "job_variables": {"command": f"touch {self.marker}", "env": {"X": "1"}, "working_dir": "/"},
        }
        head, _, tail = json.dumps(body).partition('"attack"')
        text = PAGE.replace("ID", served.get("deployments/name/process-video/default")["id"])
        text = text.replace("BODY_HEAD", head + '"attack').replace("BODY_TAIL", '"' + tail)
        return text.replace("BODY", json.dumps(body)).replace("API", served.api)


@pytest.fixture
def page(served: Served, tmp_path: Path) -> Iterator[Page]:
    found = Page(served, tmp_path)
    yield found
    found.server.shutdown()


def chromium(url: str, folder: Path, *options: str) -> list[str]:
    own = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    return [str(CHROMIUM), *own, f"--user-data-dir={folder / 'profile'}", *options, url]


@contextlib.contextmanager
def browsing(url: str, folder: Path) -> Iterator[None]:
    """A browser that shows a page for as long as the context lasts."""
    with (folder / "chromium.log").open("wb") as log:
        process = subprocess.Popen(chromium(url, folder), stdout=log, stderr=log, start_new_session=True)
        try:
            yield
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def opened(url: str, folder: Path, *options: str) -> str:
    """The page's document, as Chromium has it after some seconds."""
    own = ["--timeout=20000", "--virtual-time-budget=15000", "--dump-dom"]
    words = chromium(url, folder, *options, *own)
    return subprocess.run(words, capture_output=True, text=True, timeout=240, check=False).stdout


def attacks(served: Served) -> list[str]:
    found = served.post("flow_runs/filter", {"flow_runs": {"name": {"any_": ["attack"]}}})
    return [run["id"] for run in found]


def test_a_page_of_another_origin_makes_no_run(served: Served, page: Page, tmp_path: Path) -> None:
    with browsing(page.url, tmp_path):
        assert page.told.wait(180), (tmp_path / "chromium.log").read_text()[-2000:]
    asked = ("json", "token", "read", "events in", "events out")
    assert {page.said[name] for name in asked} == {"refused"}, page.said
    assert attacks(served) == [] and not page.marker.exists()


def test_a_name_that_an_attacker_points_at_this_machine_is_refused(served: Served, tmp_path: Path) -> None:
    rebound = opened(
        f"http://evil.example:{served.port}/", tmp_path, "--host-resolver-rules=MAP evil.example 127.0.0.1"
    )
    assert "is no name of this server" in rebound


def test_prefects_own_pages_work(served: Served, tmp_path: Path) -> None:
    for name in ("127.0.0.1", "localhost"):
        document = opened(f"http://{name}:{served.port}/deployments", tmp_path)
        assert "process-video" in document, f"the page at {name} shows no deployments"


def test_no_run_sets_a_command_an_environment_or_a_folder(served: Served, tmp_path: Path) -> None:
    for variables in ({"command": "true"}, {"env": {"PATH": "/tmp"}}, {"working_dir": "/"}):
        with pytest.raises(httpx.HTTPStatusError, match="422"):
            asked = {"video": str(SAMPLE), "out": str(tmp_path / "out")}
            served.run_of("process-video", asked, name="attack", job_variables=variables)
    assert attacks(served) == []
