"""The documentation site: it is complete, its references exist, it is built without a warning."""

import html
import html.parser
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import throughtime as tt
from throughtime.kernels.printing.equations import describe

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"


class Settings(yaml.SafeLoader):
    """Reads mkdocs.yml; what it writes as tags of Python does not matter here."""


SETTINGS = yaml.load((ROOT / "mkdocs.yml").read_text(), Settings)


def part(name):
    """A module of docs/making."""
    spec = importlib.util.spec_from_file_location(name, DOCS / "making" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pages_of(entries):
    for entry in entries:
        for target in entry.values():
            yield from pages_of(target) if isinstance(target, list) else [target]


def test_every_page_is_in_the_navigation():
    written = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    pages = part("pages")
    made = {*pages.COPIED.values(), pages.TABLE}
    listed = list(pages_of(SETTINGS["nav"]))
    assert len(listed) == len(set(listed))
    missing = (written | made) - set(listed)
    assert not missing, f"add to nav of mkdocs.yml: {', '.join(sorted(missing))}"
    assert not set(listed) - written - made, "nav of mkdocs.yml names pages that are not there"


def test_the_reference_describes_every_public_name():
    names = re.findall(
        r"^::: ([\w.]+)$",
        "\n".join(page.read_text() for page in (DOCS / "api").glob("*.md")),
        re.MULTILINE,
    )
    assert len(names) == len(set(names))
    missing = {name for name in tt.__all__ if f"throughtime.{name}" not in names} - {"cells"}
    assert not missing, f"add to a page of docs/api: {', '.join(sorted(missing))}"


def test_every_picture_is_small_and_shown():
    texts = "".join(path.read_text() for path in (*DOCS.glob("*.md"), ROOT / "README.md"))
    pictures = sorted((DOCS / "pictures").iterdir())
    assert len(pictures) >= 5
    for path in pictures:
        assert path.stat().st_size < 200_000, path.name
        assert f"pictures/{path.name})" in texts, path.name


def test_the_names_of_torchrecurrent_on_the_page_are_those_that_are_compared():
    """Another test compares the outputs of each pair, where torchrecurrent is installed."""
    compared = (ROOT / "tests" / "cells" / "test_torchrecurrent.py").read_text()
    compared = compared[compared.index("PAIRS = {") : compared.index("def compared")]
    pairs = {b: a for a, b in re.findall(r'"([\w-]+)": \(\s*"(\w+)Cell"', compared)}
    section = (DOCS / "migration.md").read_text().partition("## torchrecurrent")[2]
    shown = dict(re.findall(r"\| (\w+) \| `([\w-]+)` (?=\|)", section))
    assert len(pairs) > 30
    assert pairs.items() <= shown.items()
    assert set(shown.values()) <= set(tt.cells.names())


def test_docstrings_become_markdown():
    as_markdown = part("docstrings").as_markdown
    assert (
        as_markdown("See :func:`~torch.relu` and :class:`Cell`.") == "See `torch.relu` and `Cell`."
    )
    assert as_markdown("Adds.\n\n>>> 1 + 1\n2\n\nMore.") == (
        "Adds.\n\n```pycon\n>>> 1 + 1\n2\n```\n\nMore."
    )


def test_links_of_the_home_page_lead_to_pages_of_the_site():
    moved = part("pages").as_page
    text = "[a](docs/cells.md#x) ![b](docs/pictures/b.png) [c](CHANGELOG.md) [d](recipes/e.yaml)"
    assert moved(text, "README.md") == (
        "[a](cells.md#x) ![b](pictures/b.png) [c](changelog.md) [d](../recipes/e.yaml)"
    )


class Loaded(html.parser.HTMLParser):
    """Collects what a page loads when it is opened, and where its links lead."""

    def __init__(self):
        super().__init__()
        self.addresses, self.links = [], []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        loads = tag in ("script", "img", "iframe", "source", "audio", "video")
        if loads or (tag == "link" and values.get("rel") not in ("canonical", "next", "prev")):
            self.addresses += [v for k in ("src", "href") if (v := values.get(k))]
        if tag == "a" and values.get("href"):
            self.links.append(values["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built strictly in a process that no proxy lets out."""
    folder = tmp_path_factory.mktemp("docs") / "site"
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), "http://127.0.0.1:9")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, **nowhere, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert built.returncode == 0, built.stderr
    return folder


def test_the_site_is_built_without_a_warning(site):
    home = (site / "index.html").read_text()
    assert "Recurrent neural networks in PyTorch" in home
    assert (site / "pictures" / "report.png").is_file()
    assert not (site / "making").exists()
    reference = (site / "api" / "layers.html").read_text()
    assert 'id="throughtime.Recurrent.forward"' in reference


def test_the_table_shows_every_cell_with_its_equations(site):
    table = html.unescape(re.sub("<[^>]+>", "", (site / "table-of-cells.html").read_text()))
    for name in tt.cells.names():
        _, _, section = table.partition(f"\n{name}¶")
        assert section, name
        first, _ = describe(tt.cells.get(name)).forward[0]
        assert f"{first} = " in section[:2000], name


def test_no_page_loads_anything_from_another_host_or_leads_nowhere(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 25
    for page in pages:
        loaded = Loaded()
        loaded.feed(page.read_text())
        assert loaded.addresses
        outside = [a for a in loaded.addresses if re.match(r"(https?:)?//", a)]
        assert not outside, f"{page.relative_to(site)}: {outside}"
        # The page of an error does not know where it is shown.
        for link in loaded.links if page.name != "404.html" else ():
            target = link.partition("#")[0]
            if not re.match(r"[a-z]+:", target):
                assert (page.parent / target).exists(), f"{page.relative_to(site)}: {link}"
    for sheet in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(https?:)?//", sheet.read_text()), sheet
