"""Complete networks, which map sequences to scores; loss and optimiser are defined elsewhere."""

from throughtime.models.beam import beam_search
from throughtime.models.encoder_decoder import EncoderDecoder
from throughtime.models.encoder_tree_decoder import EncoderTreeDecoder
from throughtime.models.grammar import Grammar
from throughtime.models.language_model import LanguageModel
from throughtime.models.one_network import OneNetwork
from throughtime.models.search import Hypothesis, greedy_search, sample_search
from throughtime.models.tagger import Tagger
from throughtime.models.tree_decoder import TreeDecoder
from throughtime.models.tree_encoder import TreeEncoder
from throughtime.models.tree_search import TreeHypothesis, tree_search
from throughtime.models.trees import Trees
from throughtime.models.writer import Writer

__all__ = [
    "EncoderDecoder",
    "EncoderTreeDecoder",
    "Grammar",
    "Hypothesis",
    "LanguageModel",
    "OneNetwork",
    "Tagger",
    "TreeDecoder",
    "TreeEncoder",
    "TreeHypothesis",
    "Trees",
    "Writer",
    "beam_search",
    "greedy_search",
    "sample_search",
    "tree_search",
]
