"""Complete networks, which map sequences to scores; loss and optimiser are defined elsewhere."""

from throughtime.models.beam import beam_search
from throughtime.models.encoder_decoder import EncoderDecoder
from throughtime.models.language_model import LanguageModel
from throughtime.models.one_network import OneNetwork
from throughtime.models.search import Hypothesis, greedy_search, sample_search
from throughtime.models.tagger import Tagger
from throughtime.models.writer import Writer

__all__ = [
    "EncoderDecoder",
    "Hypothesis",
    "LanguageModel",
    "OneNetwork",
    "Tagger",
    "Writer",
    "beam_search",
    "greedy_search",
    "sample_search",
]
