"""A page in headless Chromium, driven over the DevTools protocol."""

from __future__ import annotations

import base64
import io
import itertools
import json
import os
import shutil
import signal
import subprocess
import time
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from PIL import Image
from websockets.sync.client import connect

PROGRAM = next((found for name in ("chromium", "chromium-browser") if (found := shutil.which(name))), None)
_OPTIONS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--mute-audio", "--no-first-run",
    "--disable-background-networking", "--autoplay-policy=no-user-gesture-required",
    "--remote-debugging-port=0",
)  # fmt: skip


class Browser:
    """One tab. Everything that the page logs or asks for over the network is kept."""

    def __init__(self, profile: Path) -> None:
        assert PROGRAM is not None
        self._process = subprocess.Popen(
            [PROGRAM, *_OPTIONS, f"--user-data-dir={profile}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._numbers = itertools.count(1)
        self.events: list[dict[str, Any]] = []
        try:
            self._socket = connect(self._address(profile), max_size=None)
        except BaseException:
            self.close()
            raise
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.command(f"{domain}.enable")

    def _address(self, profile: Path) -> str:
        """The socket of the tab, once the browser has written down where it listens."""
        note = profile / "DevToolsActivePort"
        for _ in range(300):
            if note.exists() and (lines := note.read_text().split()):
                with urllib.request.urlopen(f"http://127.0.0.1:{lines[0]}/json/list", timeout=10) as reply:
                    tabs = [tab for tab in json.load(reply) if tab["type"] == "page"]
                if tabs:
                    return str(tabs[0]["webSocketDebuggerUrl"])
            time.sleep(0.1)
        raise TimeoutError("Chromium did not start within 30 s")

    def command(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send one command and wait for its answer."""
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(timeout=60))
            if message.get("id") == number:
                assert "error" not in message, message
                return dict(message["result"])
            self.events.append(message)

    def open(self, path: Path) -> None:
        """Open a file and wait until everything in it is loaded."""
        self.events.clear()
        self.command("Page.navigate", url=path.as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.events.append(json.loads(self._socket.recv(timeout=60)))

    def shape(self, width: int, height: int, dark: bool = False) -> None:
        """Set the size of the window in CSS pixels, and light or dark."""
        self.command(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.command("Emulation.setEmulatedMedia", features=[scheme])

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression; a promise is waited for."""
        found = self.command("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def picture(self, selector: str | None = None) -> np.ndarray:
        """A screenshot of the first element that fits, or of the window, uint8 [H,W,3]."""
        clip = {}
        if selector is not None:
            root = self.command("DOM.getDocument")["root"]["nodeId"]
            node = self.command("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
            x, y, *_, width, height = self._box(node)
            clip = {"clip": {"x": x, "y": y, "width": width, "height": height, "scale": 1}}
        shot = self.command("Page.captureScreenshot", captureBeyondViewport=True, **clip)
        data = base64.b64decode(shot["data"])
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))

    def _box(self, node: int) -> list[float]:
        model = self.command("DOM.getBoxModel", nodeId=node)["model"]
        return [*model["border"][:2], model["width"], model["height"]]

    def complaints(self) -> list[str]:
        """What the page has logged as an error, its uncaught exceptions and broken rules included."""
        self.evaluate("0")
        found = []
        for event in self.events:
            details = event.get("params", {})
            if event["method"] == "Runtime.exceptionThrown" or (
                event["method"] == "Log.entryAdded" and details["entry"]["level"] in ("error", "warning")
            ):
                found.append(json.dumps(details))
            if event["method"] == "Runtime.consoleAPICalled" and details["type"] in ("error", "warning"):
                found.append(json.dumps(details))
        return found

    def requests(self) -> list[str]:
        """Addresses that the page has asked for, data URIs left out."""
        asked = [event["params"]["request"]["url"] for event in self.events if _is_request(event)]
        return [url for url in asked if not url.startswith("data:")]

    def close(self) -> None:
        """End the browser and its children."""
        os.killpg(self._process.pid, signal.SIGTERM)
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _is_request(event: dict[str, Any]) -> bool:
    return event["method"] == "Network.requestWillBeSent"
