"""Pictures of Prefect's pages for docs/running.md, made with Debian's chromium.

Of a service (`invid serve`) that has done some runs: a folder with a clip that failed, and a clip.

    python -m benchmarks.pages --api http://127.0.0.1:4200/api --out docs/pages
"""

from __future__ import annotations

import argparse
import base64
import io
import itertools
import json
import re
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
from PIL import Image
from websockets.sync.client import ClientConnection, connect

from flows.api import Api, Ask

WIDTH, HEIGHT = 1280, 860
BETWEEN, MOST_LOOKS = 5.0, 15
"""A page is done when two looks at it, so many seconds apart, see the same."""
EMPTY = 25_000
"""Bytes of the PNG of a page that has loaded nothing but its frame."""


class Browser:
    """A headless chromium with one page, over the protocol of its developer tools."""

    def __init__(self, folder: Path) -> None:
        command = ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        command += [f"--user-data-dir={folder}", "--remote-debugging-port=0", "about:blank"]
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert self._process.stderr is not None
        lines = iter(self._process.stderr.readline, "")
        port = next(found[1] for line in lines if (found := re.search(r"127\.0\.0\.1:(\d+)/", line)))
        tabs = httpx.get(f"http://127.0.0.1:{port}/json", timeout=30).json()
        page = next(tab for tab in tabs if tab["type"] == "page")
        self._socket: ClientConnection = connect(page["webSocketDebuggerUrl"], max_size=None)
        self._numbers = itertools.count(1)

    def call(self, method: str, **parameters: Any) -> Any:
        """One command; its result."""
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._socket.recv(timeout=60))
            if answer.get("id") == number:
                return answer["result"]

    def open(self, url: str, height: int = HEIGHT) -> None:
        """Load a page at this height, and wait until it has settled."""
        size = {"width": WIDTH, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        self.call("Page.navigate", url=url)
        before = b""
        for _ in range(MOST_LOOKS):
            time.sleep(BETWEEN)
            after = self._captured()
            if after == before and len(after) > EMPTY:
                return
            before = after

    def picture(self) -> Image.Image:
        """What the page shows."""
        return Image.open(io.BytesIO(self._captured())).convert("RGB")

    def _captured(self) -> bytes:
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])

    def close(self) -> None:
        """End the browser."""
        self._socket.close()
        self._process.terminate()
        self._process.wait(20)


def newest(ask: Ask, flow: str, state: str, name: str = "") -> str:
    """The id of the newest run of a flow in a state, with `name` in its name."""
    body = {
        "flows": {"name": {"any_": [flow]}},
        "flow_runs": {"state": {"type": {"any_": [state]}}, "name": {"like_": name}},
        "sort": "START_TIME_DESC",
        "limit": 1,
    }
    runs = ask("POST", "flow_runs/filter", body)
    if not runs:
        raise SystemExit(f"there is no run of {flow} that is {state}")
    return str(runs[0]["id"])


def artifact(ask: Ask, run: str, key: str) -> str:
    """The id of a run's artifact of this key."""
    body = {"artifacts": {"flow_run_id": {"any_": [run]}, "key": {"any_": [key]}}}
    return str(ask("POST", "artifacts/filter", body)[0]["id"])


def main() -> None:
    """Make the pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--api", default="http://127.0.0.1:4200/api")
    parser.add_argument("--out", type=Path, default=Path("docs/pages"))
    parser.add_argument("--clip", default="", help="part of the name of the run of a clip that is shown")
    asked = parser.parse_args()
    ui = asked.api.removesuffix("/api") + "/v2"
    ask = Api(asked.api).ask
    deployment = ask("GET", "deployments/name/process-video/default")["id"]
    clip = newest(ask, "process-video", "COMPLETED", asked.clip)
    folder = newest(ask, "process-folder", "FAILED")
    shown = {
        "runs": (f"{ui}/runs", 1250),
        "run": (f"{ui}/runs/flow-run/{clip}?tab=Artifacts", 1080),
        "picture": (f"{ui}/artifacts/artifact/{artifact(ask, clip, 'before-and-after')}", 500),
        "folder": (f"{ui}/runs/flow-run/{folder}?tab=Artifacts", HEIGHT),
        "clips": (f"{ui}/artifacts/artifact/{artifact(ask, folder, 'clips')}", 500),
        "form": (f"{ui}/deployments/deployment/{deployment}/run", HEIGHT),
    }
    asked.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as profile:
        browser = Browser(Path(profile))
        try:
            for name, (url, height) in shown.items():
                browser.open(url, height)
                browser.picture().save(asked.out / f"{name}.webp", quality=80, method=6)
        finally:
            browser.close()


if __name__ == "__main__":
    main()
