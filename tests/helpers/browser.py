"""Chromium without a window, driven by the DevTools protocol over a pipe: a page's console, requests and layout."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.helpers.deadline import deadline

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--remote-debugging-pipe",
)  # fmt: skip
# Chromium reads commands from descriptor 3 and writes answers to 4.
START = """import fcntl, os, sys
read, write = (fcntl.fcntl(int(fd), fcntl.F_DUPFD, 10) for fd in sys.argv[1:3])
os.dup2(read, 3), os.dup2(write, 4)
os.execv(sys.argv[3], sys.argv[3:])"""


class Browser:
    """A running Chromium. `open` shows a file in a tab of its own."""

    def __init__(self, profile: Path) -> None:
        theirs_in, self.out = os.pipe()
        self.incoming, theirs_out = os.pipe()
        words = [str(CHROMIUM), *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        self.process = subprocess.Popen(
            [sys.executable, "-S", "-c", START, str(theirs_in), str(theirs_out), *words],
            pass_fds=(theirs_in, theirs_out), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(theirs_in)
        os.close(theirs_out)
        self.buffer, self.number = b"", 0
        self.events: list[dict[str, Any]] = []

    def call(self, method: str, session: str = "", **params: Any) -> dict[str, Any]:
        """Send a command and wait for its answer; events that come meanwhile are kept."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": params} | ({"sessionId": session} if session else {})
        os.write(self.out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.next()
            if answer.get("id") == self.number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]
            self.events.append(answer)

    def next(self) -> dict[str, Any]:
        """The next message."""
        while b"\0" not in self.buffer:
            chunk = os.read(self.incoming, 1 << 20)
            assert chunk, "Chromium has ended"
            self.buffer += chunk
        line, _, self.buffer = self.buffer.partition(b"\0")
        return json.loads(line)

    def open(self, path: Path, width: int = 1280, height: int = 900, dark: bool = False, script: bool = True) -> Tab:
        """Load a file at a width in CSS pixels."""
        self.events.clear()
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        tab = Tab(self, self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"])
        for name in ("Page", "Runtime", "Log", "Network"):
            tab.call(f"{name}.enable")
        tab.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        tab.call("Emulation.setScrollbarsHidden", hidden=True)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        tab.call("Emulation.setEmulatedMedia", features=[scheme])
        tab.call("Emulation.setScriptExecutionDisabled", value=not script)
        tab.url = path.as_uri()
        tab.call("Page.navigate", url=tab.url)
        while not tab.seen("Page.loadEventFired"):
            self.events.append(self.next())
        return tab

    def close(self) -> None:
        """End the browser."""
        with contextlib.suppress(AssertionError, OSError):
            self.call("Browser.close")
        try:
            self.process.wait(deadline(20))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self.out)
        os.close(self.incoming)


class Tab:
    """A page that is shown."""

    def __init__(self, browser: Browser, session: str) -> None:
        self.browser, self.session, self.url = browser, session, ""

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """A command to this tab."""
        return self.browser.call(method, self.session, **params)

    def seen(self, method: str) -> list[dict[str, Any]]:
        """The events of a kind so far."""
        events = [event for event in self.browser.events if event.get("sessionId") == self.session]
        return [event["params"] for event in events if event["method"] == method]

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def messages(self) -> list[Any]:
        """What the console has been told: messages, warnings of the browser, exceptions."""
        self.evaluate("1")  # events that were sent before are there now
        kinds = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")
        return [event for kind in kinds for event in self.seen(kind)]

    def requests(self) -> list[str]:
        """The addresses that were asked for, besides the file itself and what is in it."""
        asked = [event["request"]["url"] for event in self.seen("Network.requestWillBeSent")]
        return [url for url in asked if url != self.url and not url.startswith("data:")]

    def screenshot(self, path: Path) -> None:
        """Write the whole page as PNG."""
        picture = self.call("Page.captureScreenshot", captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(picture))


@contextlib.contextmanager
def browsing(profile: Path) -> Iterator[Browser]:
    """A browser that is ended afterwards."""
    browser = Browser(profile)
    try:
        yield browser
    finally:
        browser.close()
