"""Helpers of the tests of encoder and decoder: small models, sentences, eight pairs to learn."""

import torch
import torch.nn.functional as F

from throughtime.models import EncoderDecoder

PAD, BOS, EOS = 0, 1, 2
LENGTHS = [5, 2, 4]


def small_model(attention="general", input_feeding=False, **options):
    options = {"hidden_size": 6, "embedding_size": 5} | options
    model = EncoderDecoder(9, 11, attention=attention, input_feeding=input_feeding, **options)
    return model.double().eval()


def sentences(rows=3, S=5, T=4):
    source = torch.randint(3, 9, (rows, S))
    target_in = torch.randint(3, 11, (rows, T))
    target_in[:, 0] = BOS
    return source, target_in


def step_by_step(model, source, lengths, target_in):
    memory = model.encode(source, lengths)
    state, scores_of_steps = memory.state, []
    for token in target_in.unbind(1):
        scores, state = model.step(token, state, memory)
        scores_of_steps.append(scores)
    return torch.stack(scores_of_steps, 1)


def eight_pairs():
    """Words paired with their reversals, of one to six letters."""
    lengths = torch.tensor([6, 5, 4, 3, 6, 2, 1, 6])
    source = torch.randint(3, 9, (8, 6), generator=torch.Generator().manual_seed(0))
    target_in, target_out = torch.full((2, 8, 7), PAD)
    target_in[:, 0] = BOS
    for b, S in enumerate(lengths):
        target_in[b, 1 : S + 1] = target_out[b, :S] = source[b, :S].flip(0)
        target_out[b, S] = EOS
    return source, lengths, target_in, target_out


def learn(model, source, lengths, target_in, target_out, steps=80, **options):
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(steps):
        scores = model(source, lengths, target_in, lengths + 1, **options)
        loss = F.cross_entropy(scores.flatten(0, 1), target_out.flatten(), ignore_index=PAD)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
