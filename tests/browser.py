"""Chromium without a window, asked over its DevTools protocol: pages as a reader's browser shows them."""

import base64
import json
import os
import shutil
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

SECONDS = 120  # until a browser that says nothing counts as stuck; machines of CI are slow
FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"]
TROUBLE = {"Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled"}


class Browser:
    """One tab. said: what pages wrote to the console and every error, since the last `open`."""

    def __init__(self, socket):
        self.socket = socket
        self.number = 0
        self.events: list[dict] = []
        self.said: list[str] = []
        for domain in ("Page", "Runtime", "Log"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **given) -> dict:
        """One command and its answer; events that come before it are kept."""
        self.number += 1
        self.socket.send(json.dumps({"id": self.number, "method": method, "params": given}))
        while (message := self._next()).get("id") != self.number:
            pass
        assert "error" not in message, (method, message)
        return message["result"]

    def _next(self) -> dict:
        message = json.loads(self.socket.recv())
        if "method" in message:
            self.events.append(message)
            if message["method"] in TROUBLE:
                self.said.append(json.dumps(message["params"]))
        return message

    def open(self, page: Path, width: int, height: int = 900, dark: bool = False, anchor: str = "") -> None:
        """Show a page until it has loaded."""
        self.size(width, height)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[scheme])
        self.go("about:blank")  # a page that differs by its anchor only would not load again
        self.said.clear()
        self.go(page.as_uri() + anchor)

    def size(self, width: int, height: int) -> None:
        """The window, in pixels."""
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def go(self, url: str) -> None:
        """Show an address until it has loaded."""
        self.events.clear()
        self.ask("Page.navigate", url=url)
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self._next()

    def value(self, expression: str):
        """What JavaScript makes of an expression."""
        found = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def picture(self, path: Path) -> None:
        """What is in sight, as PNG."""
        path.write_bytes(base64.b64decode(self.ask("Page.captureScreenshot", format="png")["data"]))


@contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """A browser with an empty profile; skips the test where there is none, or no client for its protocol."""
    if not shutil.which("chromium"):
        pytest.skip("needs a browser: chromium")
    websocket = pytest.importorskip("websocket", reason="needs websocket-client, which jupyterlab brings")
    command = ["chromium", *FLAGS, "--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, start_new_session=True, **quiet) as process:
        try:
            port = _port(profile / "DevToolsActivePort", process)
            tab = _tab(port)
            socket = websocket.create_connection(tab, timeout=SECONDS, suppress_origin=True)
            try:
                yield Browser(socket)
            finally:
                socket.close()
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # its helpers too: one wrote into a profile that was being deleted


def _port(file: Path, process: subprocess.Popen) -> str:
    """The port that the browser chose, which it writes down when it is ready."""
    until = time.monotonic() + SECONDS
    while time.monotonic() < until and process.poll() is None:
        if file.exists() and file.read_text().count("\n"):
            return file.read_text().split("\n")[0]
        time.sleep(0.1)
    pytest.fail(f"chromium did not start: {process.poll()}")


def _tab(port: str) -> str:
    """The address of the first tab."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://127.0.0.1:{port}/json", timeout=SECONDS) as answer:
        tabs = json.load(answer)
    return next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page")
