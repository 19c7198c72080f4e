"""Takes the pictures of the playground that README.md shows: `.venv-dev/bin/python docs/pictures/take.py`.

The service must run, by `make serve`, or at the address that the command is given. Needs Chromium.
"""

import io
import shutil
import sys
from pathlib import Path
from typing import Literal

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

ADDRESS = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000/"
VIEW = "#model=pronunciation&value=phone"
WIDTH = 1100
WAIT_MS = 120_000
COLOURS = 64
"""Few enough for small files, and enough for smooth letters."""


def take(browser: Browser, scheme: Literal["light", "dark"]) -> None:
    """From what is given down to where the network looks."""
    page = browser.new_page(viewport={"width": WIDTH, "height": 900}, color_scheme=scheme)
    page.set_default_timeout(WAIT_MS)
    for address in (ADDRESS, ADDRESS + VIEW):  # the first one warms the service
        page.goto(address)
        page.locator(".attention td, #states canvas").first.wait_for()
    page.get_by_text("Whole answers").wait_for()
    first, last = (page.locator(found).bounding_box() for found in (".instrument >> nth=0", "#attention"))
    top, bottom = first["y"], last["y"] + last["height"] - 1
    taken = page.screenshot(full_page=True, clip={"x": 0, "y": top, "width": WIDTH, "height": bottom - top})
    picture = Image.open(io.BytesIO(taken)).quantize(COLOURS, dither=Image.Dither.NONE)
    picture.save(Path(__file__).with_name(f"playground-{scheme}.png"), optimize=True)


with sync_playwright() as playwright:
    found = playwright.chromium.launch(
        executable_path=shutil.which("chromium") or shutil.which("google-chrome"), args=["--no-sandbox"]
    )
    take(found, "light")
    take(found, "dark")
