"""Chromium for the tests of pages: an installed one, which no test installs."""

from shutil import which

CHROMIUM = next(filter(None, map(which, ("chromium", "chromium-browser", "google-chrome"))), None)
"""The path of the program; None without one, and then the tests of pages are skipped."""


def launched(playwright, *arguments):
    """A headless browser, driven by Playwright."""
    # Containers have no sandbox, and mostly no graphics device.
    options = ["--no-sandbox", "--disable-gpu", *arguments]
    return playwright.chromium.launch(executable_path=CHROMIUM, args=options)
