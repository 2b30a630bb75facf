"""A real Chromium without a window, driven by selenium: what a page asks of the network, logs and draws."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Sequence

import pytest

COUNT_PIXELS = """
const [element, colours] = arguments;
const canvas = element.querySelector("canvas");
const reading = (width, height) => {
  const copy = document.createElement("canvas");
  Object.assign(copy, { width, height });
  return copy.getContext("2d", { willReadFrequently: true });
};
const probe = reading(1, 1);
const copy = reading(canvas.width, canvas.height);
copy.drawImage(canvas, 0, 0);
const pixels = copy.getImageData(0, 0, canvas.width, canvas.height).data;
return colours.map((colour) => {
  probe.fillStyle = colour;
  probe.fillRect(0, 0, 1, 1);
  const [r, g, b] = probe.getImageData(0, 0, 1, 1).data;
  let found = 0;
  for (let at = 0; at < pixels.length; at += 4)
    if (pixels[at + 3] > 200 && [r, g, b].every((value, part) => Math.abs(pixels[at + part] - value) < 24)) found++;
  return found;
});
"""


def missing() -> str:
    """Why there is no browser here; "" where there is one."""
    absent = [program for program in ("chromium", "chromedriver") if shutil.which(program) is None]
    return f"found no {' and no '.join(absent)}; install Debian's chromium and chromium-driver" if absent else ""


class Browser:
    """One Chromium for several pages, each opened from its file."""

    def __init__(self) -> None:
        webdriver = pytest.importorskip("selenium.webdriver")
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium") or ""
        # Containers run as root and have a small /dev/shm.
        for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        service = webdriver.ChromeService(executable_path=shutil.which("chromedriver"))
        self._driver = webdriver.Chrome(options=options, service=service)

    def quit(self) -> None:
        """End the browser."""
        self._driver.quit()

    def open(self, path: Path, *, width: int = 1280, dark: bool = False) -> None:
        """Show a file on a screen of `width` CSS pixels; what was logged before is forgotten."""
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        self._driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.prefer(dark=dark)
        self._driver.get("about:blank")
        for kind in ("browser", "performance"):
            self._driver.get_log(kind)
        self._driver.get(path.as_uri())

    def prefer(self, *, dark: bool) -> None:
        """Make the reader's system dark or light, and let the page take notice."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        self.settle()

    def settle(self) -> None:
        """Wait until the page has handled what happened to it and has been shown again."""
        self.run(
            "return new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done))))"
        )

    def run(self, script: str, *arguments: Any) -> Any:
        """What `script` returns in the page."""
        return self._driver.execute_script(script, *arguments)

    def press(self, key: str) -> None:
        """Press and release a key, by its name in KeyboardEvent.key, in the element that has the focus."""
        for kind in ("keyDown", "keyUp"):
            self._driver.execute_cdp_cmd("Input.dispatchKeyEvent", {"type": kind, "key": key, "code": key})
        self.settle()

    def console(self) -> list[str]:
        """What the page logged, errors and refusals of its policy included."""
        return [entry["message"] for entry in self._driver.get_log("browser")]

    def requests(self) -> list[str]:
        """The addresses that the page asked for, but for what is in it."""
        messages = [json.loads(entry["message"])["message"] for entry in self._driver.get_log("performance")]
        asked = [one["params"]["request"]["url"] for one in messages if one["method"] == "Network.requestWillBeSent"]
        return [address for address in asked if not address.startswith("data:")]

    def drawn(self) -> dict[str, list[int]]:
        """Of each chart that can be seen, how many pixels have the colour of each of its series."""
        found = {}
        for element in self._driver.find_elements("css selector", ".plot"):
            if not element.is_displayed():
                continue
            name = element.get_attribute("id")
            assert element.get_attribute("data-drawn") == "yes", f"{name} is not drawn"
            found[name] = self.pixels(element, json.loads(element.get_attribute("data-colours")))
        return found

    def pixels(self, element: Any, colours: Sequence[str]) -> list[int]:
        """How many pixels of a chart have each of the colours."""
        counted: list[int] = self.run(COUNT_PIXELS, element, list(colours))
        return counted

    def printed(self) -> bytes:
        """The page as PDF."""
        import base64

        answer = self._driver.execute_cdp_cmd("Page.printToPDF", {"printBackground": True, "preferCSSPageSize": True})
        return base64.b64decode(answer["data"])
