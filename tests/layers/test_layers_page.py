"""docs/layers.md: it names every option, and its lists of cells are complete.

The two tables of refusals are compared with the layers in test_option_matrix.py and
test_starting_options.py.
"""

import re
from pathlib import Path

import pytest

import throughtime as tt
from throughtime.layers.spec import OPTIONS

PAGE = (Path(__file__).parents[2] / "docs" / "layers.md").read_text()
# Code blocks are left out.
TEXT = re.sub(r"^```.*?^```$", "", PAGE, flags=re.MULTILINE | re.DOTALL)
SENTENCES = re.split(r"(?<=[.:;])\s", re.sub(r"^\|.*$", "", TEXT, flags=re.MULTILINE))


def cells_of(words):
    """The cells that the sentence with these words lists."""
    (sentence,) = [text for text in SENTENCES if words in " ".join(text.split())]
    return set(re.findall(r"`([a-z0-9-]+)`", sentence)) & set(tt.cells.names())


@pytest.mark.parametrize("option", OPTIONS)
def test_the_page_names_every_option(option):
    assert re.search(rf"`{option}(?:=[^`]*)?`", TEXT)


def test_cells_that_the_page_names_are_there():
    # Only cells have names with a hyphen.
    named = set(re.findall(r"`([a-z0-9]+-[a-z0-9-]+)`", TEXT))
    assert len(named) > 35
    assert named <= set(tt.cells.names())


def test_the_cells_that_declare_no_start_declare_none():
    names = cells_of("declare nothing")
    assert len(names) == 5
    assert not any(tt.cells.get(name).initial_weights for name in names)


def test_the_page_lists_every_cell_that_replaces_the_biases_of_chrono_initialisation():
    replaced = {
        name
        for name in tt.cells.names()
        if any(not key.startswith("b") for key in tt.cells.get(name).chrono)
    }
    assert cells_of("replace a bias") == replaced
