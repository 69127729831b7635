"""The tests that docs/proof.md names exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_page_on_proofs_names_tests_that_are_there():
    page = (ROOT / "docs" / "proof.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| ") and "tests/" in line]
    assert len(rows) > 15
    for path, name in re.findall(r"\((\.\./tests/[\w/]+\.py)\)(?:,? `(test_\w+)`)?", page):
        file = ROOT / "docs" / path
        assert file.is_file(), path
        assert not name or f"def {name}(" in file.read_text(), name
