"""A page in headless Chromium, driven through its debugging pipe: nothing but the browser is needed.

The messages are those of the DevTools protocol. What the page writes to its console, errors that nobody caught, and
every address that it asks for are kept, for a test to look at.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
PATIENCE = 60  # seconds without an answer, on a machine that does much else
OPTIONS = (
    "--headless=new",
    "--remote-debugging-pipe",
    "--no-sandbox",  # which root cannot have; only files of this repository are opened
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-extensions",
    "--hide-scrollbars",
    "--no-first-run",
)
# The browser reads from descriptor 3 and writes to 4, whatever numbers the pipes have here.
LAUNCHER = """
import fcntl, os, sys
theirs_in, theirs_out = (fcntl.fcntl(int(fd), fcntl.F_DUPFD, 5) for fd in sys.argv[1:3])
os.dup2(theirs_in, 3)
os.dup2(theirs_out, 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


def find() -> str | None:
    """Return where Chromium is, or None."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Page:
    """One page of a browser of its own.

    Parameters
    ----------
    profile : path
        An empty folder for what the browser keeps.
    width, height : int
        Of the window, in CSS pixels.
    """

    def __init__(self, profile: Path, width: int = 1280, height: int = 900) -> None:
        self.console: list[str] = []
        self.errors: list[str] = []
        self.requests: list[str] = []
        self._buffer, self._n_sent, self._session = b"", 0, None
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        launcher = [sys.executable, "-c", LAUNCHER, str(theirs_in), str(theirs_out)]
        self._process = subprocess.Popen(
            [*launcher, find(), *OPTIONS, f"--user-data-dir={profile}", "about:blank"],
            pass_fds=(theirs_in, theirs_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        try:
            target = self.send("Target.createTarget", url="about:blank")["targetId"]
            self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            for domain in ("Page", "Runtime", "Network", "Log"):
                self.send(f"{domain}.enable")
            self.resize(width, height)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Page:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End the browser."""
        try:
            self._session = None
            self.send("Browser.close")
            self._process.wait(10)
        except (OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        os.close(self._in)
        os.close(self._out)

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its result; events that come in between are kept."""
        self._n_sent += 1
        message = {"id": self._n_sent, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._n_sent:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]
            self._keep(answer)

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            if not select.select([self._in], [], [], PATIENCE)[0]:
                raise OSError(f"no answer from Chromium in {PATIENCE} s")
            block = os.read(self._in, 1 << 20)
            if not block:
                raise OSError("Chromium has ended")
            self._buffer += block
        first, self._buffer = self._buffer.split(b"\0", 1)
        return json.loads(first)

    def _keep(self, event: dict[str, Any]) -> None:
        what = event.get("params", {})
        match event.get("method"):
            case "Runtime.consoleAPICalled":
                self.console.append(
                    " ".join(str(part.get("value", part.get("description"))) for part in what["args"])
                )
            case "Runtime.exceptionThrown":
                details = what["exceptionDetails"]
                self.errors.append(details.get("exception", {}).get("description", details["text"]))
            case "Log.entryAdded" if what["entry"]["level"] == "error":
                self.errors.append(f"{what['entry']['text']} {what['entry'].get('url', '')}")
            case "Network.requestWillBeSent":
                self.requests.append(what["request"]["url"])

    def resize(self, width: int, height: int, *, touch: bool = False, density: float = 1) -> None:
        """Give the page another size; with ``touch`` that of a telephone, which has no mouse."""
        size = {"width": width, "height": height, "deviceScaleFactor": density, "mobile": touch}
        self.send("Emulation.setDeviceMetricsOverride", **size)
        self.send("Emulation.setTouchEmulationEnabled", enabled=touch)

    def prefer(self, **features: str) -> None:
        """Set what a reader prefers, such as ``color_scheme="dark"`` or ``reduced_motion="reduce"``."""
        named = [{"name": f"prefers-{name.replace('_', '-')}", "value": value} for name, value in features.items()]
        self.send("Emulation.setEmulatedMedia", features=named)

    def open(self, address: str) -> None:
        """Open an address and wait until the page has loaded."""
        self.send("Page.navigate", url="about:blank")
        self.send("Page.navigate", url=address)
        self.wait("location.href !== 'about:blank' && document.readyState === 'complete'")

    def run(self, script: str) -> Any:
        """Evaluate an expression in the page, wait for it if it is a promise, and return its value."""
        answer = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"].get("exception", {}).get("description", script))
        return answer["result"].get("value")

    def wait(self, condition: str) -> None:
        """Wait until an expression is true in the page."""
        end = time.monotonic() + PATIENCE
        while not self.run(f"Boolean({condition})"):
            if time.monotonic() > end:
                raise TimeoutError(f"not so in {PATIENCE} s: {condition}")
            time.sleep(0.05)

    def place(self, selector: str, across: float = 0.5, down: float = 0.5) -> tuple[float, float]:
        """Scroll an element into the window; return a place on it, given in shares of its width and height."""
        box = self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            " e.scrollIntoView({block: 'center', behavior: 'instant'});"
            " const b = e.getBoundingClientRect(); return [b.left, b.top, b.width, b.height]; })()"
        )
        return box[0] + across * box[2], box[1] + down * box[3]

    def move(self, x: float, y: float, *, pressed: bool = False) -> None:
        """Move the mouse."""
        buttons = {"button": "left", "buttons": 1} if pressed else {}
        self.send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y, **buttons)

    def drag(self, *places: tuple[float, float]) -> None:
        """Press the mouse at the first place, move it along the others, and release it at the last."""
        common = {"button": "left", "clickCount": 1}
        (x, y), *others = places
        self.move(x, y)
        self.send("Input.dispatchMouseEvent", type="mousePressed", x=x, y=y, buttons=1, **common)
        for x, y in others:
            self.move(x, y, pressed=True)
        self.send("Input.dispatchMouseEvent", type="mouseReleased", x=x, y=y, **common)

    def click(self, selector: str, across: float = 0.5, down: float = 0.5) -> None:
        """Click an element."""
        self.drag(self.place(selector, across, down))

    def swipe(self, *places: tuple[float, float]) -> None:
        """Put a finger down at the first place, move it along the others, and lift it."""
        for k, (x, y) in enumerate(places):
            kind = "touchMove" if k else "touchStart"
            self.send("Input.dispatchTouchEvent", type=kind, touchPoints=[{"x": x, "y": y}])
        self.send("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def press(self, key: str, *, shift: bool = False) -> None:
        """Press and release a key, named as in the page's events."""
        codes = {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Home": 36, "Tab": 9, " ": 32}
        common = {"key": key, "code": key, "windowsVirtualKeyCode": codes[key], "modifiers": 8 * shift}
        for kind in ("rawKeyDown", "keyUp"):
            self.send("Input.dispatchKeyEvent", type=kind, **common)

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        """Write a picture of the window, or of the whole page."""
        answer = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(answer["data"]))
