"""The tagger: words in a batch are scored as alone, and letters of a word are read once."""

import pytest
import torch

from throughtime.models.letters import LetterFeature
from throughtime.models.tagger import Spelling, Tagger

V, K, LENGTHS = 20, 5, [7, 3, 1]


def batch(seed=0):
    draw = torch.Generator().manual_seed(seed)
    words = torch.randint(4, V, (3, 7), generator=draw)
    letter_lengths = torch.tensor([4, 1, 2, 6, 3])
    letters = torch.randint(4, 9, (5, 6), generator=draw)
    letters = letters.masked_fill(torch.arange(6) >= letter_lengths.unsqueeze(1), 0)
    index = torch.randint(0, 5, (3, 7), generator=draw)
    return words, torch.tensor(LENGTHS), Spelling(letters, letter_lengths, index)


def tagger(**options):
    torch.manual_seed(0)
    small = {"num_letters": 9, "embedding_size": 6, "letter_size": 3, "hidden_size": 4}
    return Tagger(V, K, **{**small, **options}).double().eval()


@pytest.mark.parametrize("letters", ["recurrent", "convolution", "none"])
@pytest.mark.parametrize("output", ["crf", "softmax"])
def test_a_sentence_in_a_batch_has_the_scores_that_it_has_alone(letters, output):
    model = tagger(letter_feature=letters, output=output, num_intents=2, num_layers=2)
    words, lengths, spelling = batch()
    together = model(words, lengths, spelling)
    assert together.words.shape == (3, 7, K)
    for b, n in enumerate(LENGTHS):
        index = spelling.words[b : b + 1, :n]
        kinds, own = index.unique(return_inverse=True)
        longest = spelling.lengths[kinds].max()
        alone = model(
            words[b : b + 1, :n],
            [n],
            Spelling(spelling.letters[kinds, :longest], spelling.lengths[kinds], own),
        )
        torch.testing.assert_close(together.words[b, :n], alone.words[0])
        torch.testing.assert_close(together.sentences[b], alone.sentences[0])


@pytest.mark.parametrize("kind", ["recurrent", "convolution"])
def test_the_letter_feature_is_that_of_its_equation(kind):
    torch.manual_seed(0)
    feature = LetterFeature(9, kind=kind, embedding_size=4, size=3).double()
    _, _, spelling = batch()
    features = feature(spelling.letters, spelling.lengths)
    assert features.shape == (5, feature.output_size)
    for u, n in enumerate(spelling.lengths.tolist()):
        x = feature.embedding(spelling.letters[u, :n])
        if kind == "recurrent":
            h, _ = feature.recurrent(x.unsqueeze(0))
            expected = torch.cat([h[0, -1, :3], h[0, 0, 3:]])
        else:
            expected = feature.convolution(x.T.unsqueeze(0))[0].amax(1)
        torch.testing.assert_close(features[u], expected)


def test_a_word_is_known_by_its_letters():
    model = tagger()
    words, lengths, spelling = batch()
    index = spelling.words.clone()
    index[0, 2] = (index[0, 2] + 1) % 5
    scores = model(words, lengths, spelling).words
    changed = model(words, lengths, spelling._replace(words=index)).words
    assert not torch.equal(changed[0], scores[0])
    assert torch.equal(changed[1:], scores[1:])


def test_what_does_not_fit_is_refused():
    words, lengths, _ = batch()
    with pytest.raises(ValueError, match="expected spelling because the model reads letters"):
        tagger()(words, lengths)
    anything = torch.ones(K, dtype=torch.bool)
    allowed = (anything, torch.ones(K, K, dtype=torch.bool), anything)
    with pytest.raises(ValueError, match='expected allowed only with output="crf"'):
        tagger(output="softmax", allowed=allowed)
