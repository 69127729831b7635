"""How fast the page of the lens answers: from a key to the drawn heat map, and frames of scrolling.

A headless Chromium types 100 characters into a text of 200, one each 80 ms. The model is an LSTM of
2 x 256 units. The time of a key runs from its event until the page has drawn: the new column of the
heat map, the curve, the colours of the text, the distribution. A second time ends when the browser
has produced the frame that shows it. Then a heat map of 300 characters x 512 units scrolls, each
frame by some pixels to the right and down. Bars: 20 ms for the median key, 60 frames per second.

    python benchmarks/lens.py
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from playwright.sync_api import Page, expect, sync_playwright

from throughtime.inspection.recording import record
from throughtime.measuring.machine import write_results
from throughtime.tasks.char_lm import CharLM, CharLMConfig
from throughtime.tasks.loading import load_run
from throughtime.tasks.run import Run

RESULT = Path(__file__).parent / "results" / "lens.json"
TEXT = "The quick brown fox jumps over the lazy dog, and the dog sleeps on.\n"
KEYS, EVERY = 100, 80
SERVE = (
    "import sys; from throughtime.inspection.page.server import serve; "
    "serve(sys.argv[1:], say=lambda line: print(line, flush=True))"
)

# Notes, after each key, when the frame that shows it is done: a message that is posted in an
# animation frame arrives after that frame was drawn.
WATCH = """() => {
  window.frames = [];
  new PerformanceObserver((list) => {
    for (const { startTime } of list.getEntriesByName("lens:key")) {
      requestAnimationFrame(() => {
        const channel = new MessageChannel();
        channel.port1.onmessage = () => window.frames.push(performance.now() - startTime);
        channel.port2.postMessage(null);
      });
    }
  }).observe({ type: "measure" });
}"""

SCROLL = """(frames) => new Promise((resolve) => {
  const chart = document.getElementById("chart");
  const times = [];
  const step = (time) => {
    times.push(time);
    chart.scrollLeft = (7 * times.length) % (chart.scrollWidth - chart.clientWidth);
    chart.scrollTop = (2 * times.length) % Math.max(1, chart.scrollHeight - chart.clientHeight);
    if (times.length <= frames) requestAnimationFrame(step);
    else resolve(times.slice(1).map((time, index) => time - times[index]));
  };
  requestAnimationFrame(step);
})"""


def saved(folder: Path, hidden_size: int, num_layers: int) -> Path:
    """A run with a model that nobody has trained: its speed is that of a trained one."""
    text = folder.parent / "text.txt"
    text.write_text(TEXT * 200)
    config = CharLMConfig(data=str(text), hidden_size=hidden_size, num_layers=num_layers)
    task = CharLM(config)
    run = Run(folder)
    run.create(task, {})
    run.save_model(task.model())
    return folder


def opened(page: Page, address: str) -> None:
    page.goto(address)
    expect(page.locator("#readout-number")).not_to_have_text("–", timeout=60_000)
    page.fill("#text", (TEXT * 3)[:200])
    page.click("#text")
    page.keyboard.press("Control+End")
    expect(page.locator("#text-colours")).to_have_text((TEXT * 3)[:200], timeout=60_000)


def check(page: Page, folder: Path) -> None:
    """The page shows the tensor: a page that shows something else has no speed."""
    run = load_run(folder)
    text = page.locator("#text").input_value()
    name = page.locator("#value").input_value()
    values = record(run.task, run.model, text).values[name]
    shown = page.locator("#readout-number").text_content() or ""
    difference = abs(float(shown.replace("−", "-")) - float(values[-1, 0]))
    assert difference < 1e-4, f"the page shows {shown}, the tensor is {values[-1, 0]}"


def keys(page: Page) -> tuple[list[float], list[float]]:
    """The milliseconds from each key to the end of drawing, and to the end of its frame."""
    page.evaluate(WATCH)
    before = page.evaluate("performance.getEntriesByName('lens:key').length")
    page.keyboard.type((TEXT * 2)[:KEYS], delay=EVERY)
    page.wait_for_timeout(1000)
    drawn = page.evaluate("performance.getEntriesByName('lens:key').map((e) => e.duration)")
    return drawn[before:], page.evaluate("window.frames")


def summary(times: list[float]) -> dict[str, float]:
    ordered = sorted(times)
    return {
        "median": round(statistics.median(ordered), 1),
        "least": round(ordered[0], 1),
        "90 %": round(ordered[int(0.9 * len(ordered))], 1),
        "number": len(ordered),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    args = parser.parse_args()
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as name, sync_playwright() as play:
        folder = Path(name)
        runs = [saved(folder / "2x256", 256, 2), saved(folder / "1x512", 512, 1)]
        command = [sys.executable, "-c", SERVE, *map(str, runs)]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert server.stdout is not None
        address = server.stdout.readline().strip()
        arguments = ["--no-sandbox", "--disable-gpu"]
        browser = play.chromium.launch(executable_path=args.chromium, args=arguments)
        try:
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            opened(page, address)
            drawn, framed = keys(page)
            check(page, runs[0])
            page.select_option("#run", "1")
            page.fill("#text", (TEXT * 5)[:300])
            expect(page.locator("#text-colours")).to_have_text((TEXT * 5)[:300], timeout=60_000)
            check(page, runs[1])
            frames = page.evaluate(SCROLL, 300)
        finally:
            browser.close()
            server.terminate()
    result = {
        "milliseconds from key to drawn": summary(drawn),
        "milliseconds from key to the end of its frame": summary(framed),
        "milliseconds per frame of scrolling": summary(frames),
        "frames per second": round(1000 / statistics.mean(frames), 1),
    }
    write_results(RESULT, results=result)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
