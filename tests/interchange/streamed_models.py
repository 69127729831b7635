"""The models that run one step at a time, for the tests of their files."""

import torch

import throughtime as tt
from throughtime.models.classifier import Classifier
from throughtime.models.language_model import LanguageModel
from throughtime.models.stepwise import StepwiseNetwork
from throughtime.models.tagger import Tagger


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
}

REFUSED = {
    "both directions": (
        lambda: Classifier(4, input_size=3, hidden_size=6, bidirectional=True),
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
    "crf": (lambda: tagger(output="crf"), "output=crf chooses the labels of all words together"),
    "letters": (
        lambda: tagger(letter_feature="recurrent", num_letters=5),
        "letter_feature=recurrent reads the letters",
    ),
    "another model": (
        lambda: torch.nn.Linear(3, 3),
        'unknown class of module "Linear".*Other models read a whole sequence',
    ),
    "a subclass": (
        lambda: type("Mine", (LanguageModel,), {})(11, hidden_size=6),
        'unknown class of module "Mine"',
    ),
    "a matrix for a state": (lambda: tt.MatrixLSTM(3, 4), 'unknown class of module "MatrixLSTM"'),
}
"""Models that cannot run step by step, each with the reason."""
