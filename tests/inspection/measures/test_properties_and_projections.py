"""Properties of texts, the correlation of units with them, and projections of states."""

import pytest
import torch

from throughtime.inspection.measures import projection
from throughtime.inspection.measures.correlation import correlations, followers
from throughtime.inspection.measures.projection import embeddings, pca, tsne
from throughtime.inspection.measures.text_properties import PROPERTIES, pattern
from throughtime.inspection.recording import Recording


@pytest.mark.parametrize(
    ("property", "text", "expected"),
    [
        ("inside quotes", 'a "b" “c”', "001100110"),
        ("inside quotes", 'a "b\n\nc', "0011100"),
        ("inside quotes", "it's", "0000"),
        ("inside a string", "x = 'a' + \"b\"", "0000110000110"),
        ("inside a string", "'it\\'s' 'a", "1111110011"),
        ("inside a string", "# don't\n'a'", "00000000110"),
        ("inside a string", "'#' 1", "11000"),
        ("inside a string", "'a\nb", "1100"),
        ("inside a string", "'a\\\nb'c", "1111100"),
        ("inside a string", '"""a\n"b" """ c', "10111111111000"),
        ("inside a string", '"" "a"', "100110"),
        ("inside a string", "'' \"'\"", "100110"),
        ("inside a string", "''''a'''b", "101111100"),
        ("bracket depth", ")(a[{}])", "01123210"),
        ("line length so far", "ab\n\nc", "12001"),
        ("indentation", "  a b\n\tc\nd", "1222208800"),
        ("word start", "to be, 3x", "100100010"),
        ("capitals", "AbÉ1", "1010"),
    ],
)
def test_properties_of_a_text(property, text, expected):
    assert "".join(str(int(v)) for v in PROPERTIES[property](text)) == expected


def test_a_property_of_words_is_that_after_their_last_character():
    words = ["say", ' "', "two words", "", '"']
    assert PROPERTIES["inside quotes"](words).tolist() == [0, 1, 1, 1, 0]
    assert PROPERTIES["word start"](words).tolist() == [1, 0, 1, 0, 0]
    assert pattern("wo w|say")(words).tolist() == [1, 0, 1, 0, 0]


def test_a_pattern_covers_its_matches_and_an_invalid_one_is_refused():
    assert pattern("^b+|x*")("ab\nbb").tolist() == [0, 0, 0, 1, 1]
    with pytest.raises(ValueError, match=r'expected a regular expression, got "\(": missing \)'):
        pattern("(")


def test_correlations_equal_those_of_torch_and_a_constant_unit_has_none():
    values, property = torch.randn(50, 3), torch.randn(50, dtype=torch.float64)
    expected = torch.corrcoef(torch.cat([values.double(), property[:, None]], 1).T)[3, :3]
    assert torch.allclose(correlations(values, property), expected)
    # The mean of these in floating point is not the number itself.
    values[:, 1] = 0.1
    assert correlations(values, property)[1] == 0
    with pytest.raises(ValueError, match="never changes in these 50 steps"):
        correlations(values, torch.ones(50))


def test_the_unit_that_follows_a_property_comes_first_over_all_states_and_texts():
    length = PROPERTIES["line length so far"]

    def recording(text):
        c, h = torch.randn(len(text), 4), torch.randn(len(text), 4)
        c[:, 2] = -length(text) + 0.1 * torch.randn(len(text))
        values = {"recurrent.c_l1": c, "recurrent.h_l0": h, "recurrent.f_l0": length(text)[:, None]}
        states = frozenset(values) - {"recurrent.f_l0"}
        return Recording(values, states, {"": list(text)})

    recordings = [recording("abc\ndefgh\nij"), recording("klmnopqrstu\nv\n\n")]
    first, *others = followers(recordings, length, most=3)
    assert (first.name, first.unit) == ("recurrent.c_l1", 2)
    assert first.correlation < -0.98
    assert len(others) == 2
    assert abs(others[0].correlation) >= abs(others[1].correlation)


def test_principal_components_keep_the_distances_in_a_plane():
    plane = torch.linalg.qr(torch.randn(7, 2)).Q
    flat = torch.randn(20, 2) * torch.tensor([3.0, 1.0])
    points, explained = pca(flat @ plane.T + 5)
    assert torch.allclose(torch.cdist(points, points), torch.cdist(flat, flat).double(), atol=1e-4)
    assert explained.sum().item() == pytest.approx(1)
    assert explained[0] > explained[1]
    assert pca(torch.ones(1, 3)).points.tolist() == [[0, 0]]


def test_tsne_keeps_two_clusters_apart_and_says_what_to_install(monkeypatch):
    pytest.importorskip("openTSNE", reason="openTSNE is not installed")
    values = torch.cat([torch.randn(12, 5), torch.randn(12, 5) + 20])
    points = tsne(values).points
    assert torch.equal(points, tsne(values).points)
    within = torch.cdist(points[:12], points[:12]).max()
    assert within < torch.cdist(points[:12], points[12:]).min()
    with pytest.raises(ValueError, match="at least 4 points, got 3"):
        tsne(values[:3])

    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(projection.importlib, "import_module", missing)
    with pytest.raises(ImportError, match=r'pip install "throughtime\[lens\]"'):
        tsne(values)


def test_embeddings_are_taken_by_their_paths():
    model = torch.nn.Sequential(torch.nn.Embedding(3, 2), torch.nn.Linear(2, 2))
    (name,) = embeddings(model)
    assert name == "0"
    assert torch.equal(embeddings(model)[name], model[0].weight)
