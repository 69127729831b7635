"""Written trees are drawn, and a chosen node shades what it attends to; nothing runs a script."""

import html
import itertools
import json
import random
import re

import pytest

from throughtime.data.trees import Tree, read_sexpr
from throughtime.inspection.alignments import recorded_alignments
from throughtime.inspection.attention_map import attention_figure, write_attention
from throughtime.inspection.tree_drawing import _drawing, _layout, tree_html
from throughtime.reading import ReadError
from throughtime.tasks.run import Run
from throughtime.tasks.uses import AttentionMap

from ..chromium import CHROMIUM, launched

TREE = read_sexpr("(+ a (len b))")
WEIGHTS = [[0.1, 0.9, 0, 0], [1, 0, 0, 0], [0.01, 0.01, 0.98, 0], [0, 0.25, 0.25, 0.5]]
DRAWN = AttentionMap(["add", "a", "to", "length"], TREE.labels, WEIGHTS, "add a", (), TREE.parents)


def random_tree(seed, size):
    draw = random.Random(seed)
    parents = [-1]
    for node in range(1, size):
        path = [node - 1]
        while parents[path[-1]] >= 0:
            path.append(parents[path[-1]])
        parents.append(draw.choice(path))
    return Tree(tuple("x" * draw.randint(1, 20) for _ in parents), tuple(parents))


@pytest.mark.parametrize("seed", range(8))
def test_no_boxes_overlap_and_parents_are_above_their_children(seed):
    tree = random_tree(seed, 40)
    boxes = _layout(tree.labels, tree.parents)
    for one, other in itertools.combinations(boxes, 2):
        if one.y == other.y:
            assert abs(one.x - other.x) >= (one.width + other.width) / 2 + 5
    assert min(box.x - box.width / 2 for box in boxes) >= 0
    for node, children in enumerate(tree.children):
        for left, right in itertools.pairwise(children):
            assert boxes[left].x < boxes[right].x
        if children:
            assert boxes[node].y < boxes[children[0]].y
            # An edge leads from a parent to somewhere near the middle of its children.
            assert boxes[children[0]].x - 90 <= boxes[node].x <= boxes[children[-1]].x + 90


def test_a_node_has_a_rule_with_its_weights_and_says_them():
    page = tree_html(DRAWN, "tree-0")
    rule = re.search(r'#tree-0:has\(\[data-node="3"\]:hover\)[^{]*\{([^}]*)\}', page)
    assert rule[1].split() == ["--a1:", "0.25;", "--a2:", "0.25;", "--a3:", "0.50;"]
    assert 'aria-label="b attends to length 0.50, a 0.25, to 0.25"' in page
    assert [f"var(--a{i}, 0)" in page for i in range(5)] == [True] * 4 + [False]
    assert page.count("tabindex") == 4


def test_a_source_tree_is_shaded_too():
    page = tree_html(DRAWN._replace(source_parents=(-1, 0, 0, 2)), "tree-0")
    assert page.count("<svg") == 2
    assert page.count('class="shade"') == 4
    assert "token" not in page


def test_words_cannot_become_markup():
    word = "<script>alert(1)</script>\"'}</style>"
    drawn = DRAWN._replace(source=[word] * 4, target=[word] * 4, title=word)
    page = attention_figure(drawn, "map-0")
    assert "<script" not in page
    assert page.count("</style>") == page.count("<style")
    assert html.escape(word) in page


def test_only_the_first_nodes_of_a_large_tree_are_drawn():
    deep = Tree(("a",) * 10_000, tuple(range(-1, 9_999)))
    page = _drawing(deep.labels, deep.parents, None)
    assert page.count("<rect") == 400
    assert "The first 200 of 10,000 nodes." in page


@pytest.mark.parametrize("parents", [[0, -1], [-1], [-1, 5], [-1, 1]])
def test_parents_that_are_none_are_named(tmp_path, parents):
    run = Run(tmp_path)
    drawn = {"source": ["a"], "target": ["b", "c"], "weights": [[1.0], [1.0]]}
    maps = [drawn | {"target_parents": [-1, 0]}, drawn | {"target_parents": parents}]
    run.attention_file.write_text(json.dumps({"step": 3, "maps": maps}))
    with pytest.raises(ReadError, match=r"maps.*1.*target_parents"):
        recorded_alignments(run)
    run.attention_file.write_text(json.dumps({"step": 3, "maps": maps[:1]}))
    assert recorded_alignments(run)[1][0].target_parents == [-1, 0]


@pytest.mark.slow
# `make test` installs no browser.
@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 400)])
def test_a_browser_shades_what_a_node_attends_to(tmp_path, scheme, width):
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = tmp_path / "map.html"
    wide = random_tree(1, 60)
    other = AttentionMap(["a"], wide.labels, [[1.0]] * 60, "wide", (), wide.parents)
    write_attention(path, [DRAWN, other])

    def weights(page):
        opacity = "tokens => tokens.map(t => getComputedStyle(t, '::before').opacity)"
        return [float(w) for w in page.locator("#map-0 .token").evaluate_all(opacity)]

    with playwright.sync_playwright() as p:
        browser = launched(p)
        page = browser.new_page(
            viewport={"width": width, "height": 800}, color_scheme=scheme, java_script_enabled=True
        )
        page.goto(path.as_uri())
        assert weights(page) == [0, 0, 0, 0]
        page.keyboard.press("Tab")
        assert weights(page) == pytest.approx([0.1, 0.9, 0, 0])
        # The pointer has precedence over the focus.
        page.hover('#map-0 [data-node="3"]')
        assert weights(page) == pytest.approx([0, 0.25, 0.25, 0.5])
        page.mouse.move(0, 0)
        assert weights(page) == pytest.approx([0.1, 0.9, 0, 0])
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert ground == {"light": "rgb(255, 255, 255)", "dark": "rgb(18, 18, 18)"}[scheme]
        browser.close()
