"""The runs that the tests ask about, and the numbers of an answer."""

import base64

import numpy as np
import torch

from throughtime.inspection.recording import record

KINDS = ["language", "gru", "tagging", "texts", "series", "pairs", "symbols", "cloze"]
STATE = {
    **dict.fromkeys(["language", "gru"], "recurrent.h_l1"),
    **dict.fromkeys(["tagging", "texts", "series", "symbols", "cloze"], "recurrent.h_l0"),
    "pairs": "decoder.recurrent.h_l0",
}


def numbers(values):
    data = np.frombuffer(base64.b64decode(values["data"]), "<f4")
    return torch.from_numpy(data.copy()).reshape(values["shape"])


def about(session):
    return session.answer("runs", {})["runs"][0]


def names(run):
    return [value["name"] for part in run["parts"] for value in part["values"]]


def held_out(session, name):
    """The held-out tokens and values of a run, computed here."""
    run = session.runs[0]
    recordings = [record(run.task, run.model, input) for input in run.inputs]
    return [(list(r.tokens(name)), r.values[name]) for r in recordings]
