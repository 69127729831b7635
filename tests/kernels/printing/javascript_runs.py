"""Runs JavaScript in Node if it is installed, else in Chromium."""

import json
import re
import subprocess
from pathlib import Path
from shutil import which

import pytest

from ...chromium import CHROMIUM, launched


def without_exports(module):
    """The text of a module as a script: its exports become values of the surrounding scope."""
    return re.sub(r"^export ", "", module, flags=re.MULTILINE)


def evaluated(script, folder):
    """The value of the last expression of a script, which is a function without arguments."""
    text = f"JSON.stringify(({script})())"
    if which("node"):
        file = Path(folder) / "script.js"
        file.write_text(f"process.stdout.write({text});\n", encoding="utf-8")
        done = subprocess.run(["node", file], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout)
    # A user's machine needs neither, as its browser runs the page.
    if CHROMIUM is None:
        pytest.skip("neither Node nor Chromium is installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = launched(playwright)
        try:
            return json.loads(browser.new_page().evaluate(text))
        finally:
            browser.close()
