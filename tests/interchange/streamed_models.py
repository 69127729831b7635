"""The models that run one step at a time, for the tests of their files."""

import torch

import throughtime as tt
from throughtime.models.classifier import Classifier
from throughtime.models.cloze import Cloze
from throughtime.models.encoder_decoder import EncoderDecoder
from throughtime.models.encoder_tree_decoder import EncoderTreeDecoder
from throughtime.models.frame_model import FrameModel
from throughtime.models.language_model import LanguageModel
from throughtime.models.one_network import OneNetwork
from throughtime.models.performer_model import PerformerModel
from throughtime.models.stepwise import StepwiseNetwork, WindowNetwork
from throughtime.models.tagger import Tagger
from throughtime.models.transcriber import Transcriber
from throughtime.models.verifier import Verifier


def tagger(**options):
    plain = {"letter_feature": "none", "output": "softmax", "bidirectional": False}
    return Tagger(9, 4, hidden_size=6, **plain | options)


MODELS = {
    "language": lambda: LanguageModel(11, hidden_size=6, embedding_size=5),
    "tied": lambda: LanguageModel(11, hidden_size=20, tied=True, num_layers=1),
    "onehot": lambda: LanguageModel(11, hidden_size=6, one_hot=True),
    "stepwise": lambda: StepwiseNetwork(3, 2, hidden_size=6, cell="lem"),
    "last": lambda: Classifier(4, input_size=3, hidden_size=6, pooling="last"),
    "mean": lambda: Classifier(4, vocab_size=9, hidden_size=6, pooling="mean"),
    "largest": lambda: Classifier(4, input_size=3, hidden_size=6, pooling="max"),
    "tagger": tagger,
    "gap": lambda: LanguageModel(11, hidden_size=6, cell="ltc"),
    "gaps": lambda: Classifier(4, input_size=3, hidden_size=6, cell="cfc", has_gaps=True),
    "cloze": lambda: Cloze(9, hidden_size=6, embedding_size=5, bidirectional=False, tied=True),
    "network": lambda: OneNetwork(9, 8, hidden_size=6),
    "frames": lambda: FrameModel(7, hidden_size=6),
    "performers": lambda: PerformerModel([3, 4], coding="product", hidden_size=6),
    "joined": lambda: Transcriber(5, 4, hidden_size=6, stack=2),
}

WHOLE = {
    "both directions": (
        lambda: Classifier(4, input_size=3, hidden_size=6, bidirectional=True, pooling="last"),
        "Classifier: bidirectional=True reads a sequence from its end",
    ),
    "attention": (
        lambda: Classifier(4, input_size=3, hidden_size=6, pooling="attention"),
        "attention.*weighs the states of all steps",
    ),
    "missing values": (
        lambda: Classifier(4, input_size=3, hidden_size=6, cell="gru-d"),
        "GRUD.*cannot be exported",
    ),
    "window": (
        lambda: Classifier(
            4, input_size=3, hidden_size=6, network="window", window=3, pooling="mean"
        ),
        "network=window reads the steps of a window",
    ),
    "a person": (
        lambda: Verifier(3, vector_size=5, input_size=3, hidden_size=6),
        "Verifier: its vector has the length one only after the last step",
    ),
    "crf": (lambda: tagger(output="crf"), "output=crf chooses the labels of all words together"),
    "letters": (
        lambda: tagger(letter_feature="recurrent", num_letters=5),
        "letter_feature=recurrent reads the letters",
    ),
    "filters": (
        lambda: tagger(letter_feature="convolution", num_letters=5, num_intents=3),
        "letter_feature=convolution reads the letters",
    ),
    "a missing word": (
        lambda: Cloze(9, hidden_size=6, num_layers=2),
        "Cloze: bidirectional=True reads a sequence from its end",
    ),
    "a pyramid": (
        lambda: Transcriber(5, 4, hidden_size=6, num_layers=2, stack=3, pyramid=1),
        "Transcriber: pyramid=1 joins steps",
    ),
    "a window": (
        lambda: WindowNetwork(3, 2, window=3, hidden_size=6, num_layers=2),
        "WindowNetwork: it has no recurrent layer",
    ),
    "a pair": (
        lambda: EncoderDecoder(9, 8, hidden_size=6, num_layers=2),
        "EncoderDecoder: it reads a whole source before it writes",
    ),
    "a tree": (
        lambda: EncoderTreeDecoder(9, 8, hidden_size=6),
        "EncoderTreeDecoder: it reads a whole source before it writes",
    ),
}
"""Models that cannot run step by step, each with the reason; ONNX files hold them otherwise."""

REFUSED = {
    "another model": (
        lambda: torch.nn.Linear(3, 3),
        'unknown class of module "Linear".*Other models read a whole sequence',
    ),
    "a subclass": (
        lambda: type("Mine", (LanguageModel,), {})(11, hidden_size=6),
        'unknown class of module "Mine"',
    ),
    "a matrix for a state": (lambda: tt.MatrixLSTM(3, 4), 'unknown class of module "MatrixLSTM"'),
    "several integers": (
        lambda: PerformerModel([3, 4], coding="any-order", hidden_size=6),
        "PerformerModel: coding=any-order reads and writes several integers in a step",
    ),
    "keys one by one": (
        lambda: FrameModel(7, hidden_size=6, head="nade"),
        "FrameModel: head=nade draws the keys of a frame one after the other",
    ),
}
"""Models that no file can hold, each with the reason."""
