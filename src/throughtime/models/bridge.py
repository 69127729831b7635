r"""The bridge, which computes the initial states of a decoder from the output of an encoder."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from throughtime.layers import Recurrent
from throughtime.layers.recurrent import RecurrentState
from throughtime.models.tree_encoder import TreeEncoder

__all__ = ["Bridge", "MeanBridge"]


class Bridge(nn.Module):
    r"""Maps the last states of an encoder to the initial states of a decoder, layer by layer.

    If the encoder has one direction, the same number of layers, and states of the same names and
    widths, the states are passed on unchanged. Otherwise each state s of each layer of the decoder
    has a matrix of its own:

        s_0 = tanh(W_s [e→; e←] + b_s)

    with e the encoder's state of the same name or, if the two cells have different states, all
    states of the encoder concatenated. If a state of the decoder's cell has an initial value other
    than zero (sLSTM, whose normaliser must stay positive), only the first state is computed in
    this way, and the others have their initial values.

    Args:
        encoder, decoder: the recurrent layers; the decoder has one direction. A tree encoder has
            one layer, and the states of the root as its last states. If their depths differ, layer
            L - k of the decoder reads layer L_e - k of the encoder, or its first layer if there is
            none.

    Shapes:
        states of the encoder: (L_e*D, B, H_e). of the decoder: (L, B, H).

    Source: Bahdanau, Cho and Bengio, arXiv 1409.0473, appendix A.2.2. Differs: there s_0 depends
    on the reverse direction only.

    >>> from throughtime.layers import GRU, LSTM
    >>> bridge = Bridge(GRU(3, 4, bidirectional=True), LSTM(3, 5))
    >>> [tuple(s.shape) for s in bridge(torch.zeros(2, 7, 4))]
    [(1, 7, 5), (1, 7, 5)]
    """

    def __init__(self, encoder: Recurrent | TreeEncoder, decoder: Recurrent) -> None:
        super().__init__()
        encoder_sizes, decoder_sizes = encoder.state_sizes, decoder.state_sizes
        self.names, self.states = list(encoder_sizes), decoder_sizes
        self.initial = {k: v.initial for k, v in decoder.cell.state_specs.items()}
        self.num_layers, self.num_directions = encoder.num_layers, encoder.num_directions
        L, L_e = decoder.num_layers, encoder.num_layers
        # The layer of the encoder that each layer of the decoder reads, aligned at the top.
        self.layers = [max(0, L_e - L + layer) for layer in range(L)]
        has_equal_states = encoder_sizes == decoder_sizes
        self.is_identity = has_equal_states and self.num_directions == 1 and L == L_e
        self.maps = nn.ModuleDict()
        if self.is_identity:
            return
        begins_at_zero = not any(self.initial.values())
        for name in decoder_sizes if begins_at_zero else list(decoder_sizes)[:1]:
            width = sum(encoder_sizes[k] for k in self._inputs_of(name)) * self.num_directions
            layers = [nn.Linear(width, decoder_sizes[name]) for _ in range(L)]
            self.maps[f"{name}_0"] = nn.ModuleList(layers)

    def _inputs_of(self, name: str) -> list[str]:
        """The names of the encoder's states from which a state of the decoder is computed."""
        return [name] if set(self.names) == set(self.states) else self.names

    def forward(self, last: RecurrentState) -> tuple[Tensor, ...]:
        """The initial states of the decoder, from the last states of the encoder."""
        states = (last,) if isinstance(last, Tensor) else tuple(last)
        if self.is_identity:
            return states
        # (L*D, B, H) -> for each state, and each layer of the decoder, (B, D*H)
        L, D = self.num_layers, self.num_directions
        by_layer = {
            k: s.unflatten(0, (L, D)).transpose(1, 2).flatten(2)[self.layers]
            for k, s in zip(self.names, states, strict=True)
        }
        first = []
        for name, size in self.states.items():
            if f"{name}_0" in self.maps:
                inputs = torch.cat([by_layer[k] for k in self._inputs_of(name)], -1)  # (L, B, …)
                maps = self.maps[f"{name}_0"].children()
                state = [m(x).tanh() for m, x in zip(maps, inputs, strict=True)]
                first.append(torch.stack(state))  # (L, B, H)
            else:
                shape = (len(self.layers), states[0].shape[1], size)
                first.append(states[0].new_full(shape, self.initial[name]))
        return tuple(first)


class MeanBridge(nn.Module):
    r"""Computes the initial states of a decoder from the output sequence k of any encoder:

        s_0 = tanh(W_s mean_t(k_t) + b_s)

    for each state s of each layer, with the mean over the valid steps. If a state of the decoder's
    cell has an initial value other than zero, only the first state is computed in this way, and
    the others have their initial values.

    Args:
        size: M, the features of k_t.
        decoder: the layers of the decoder.

    Shapes:
        values: (B, S, M). lengths: (B), or None. states: (L, B, H).

    Source: Xu et al., Show, attend and tell, arXiv 1502.03044, section 3.1.2.
    """

    def __init__(self, size: int, decoder: Recurrent) -> None:
        super().__init__()
        self.num_layers, self.states = decoder.num_layers, decoder.state_sizes
        self.initial = {k: v.initial for k, v in decoder.cell.state_specs.items()}
        mapped = list(self.states)[: 1 if any(self.initial.values()) else None]
        self.maps = nn.ModuleDict(
            {f"{k}_0": nn.Linear(size, self.num_layers * self.states[k]) for k in mapped}
        )

    def forward(self, values: Tensor, lengths: Tensor | None) -> tuple[Tensor, ...]:
        """The initial states of the decoder, from the output sequence of the encoder."""
        B, S, _ = values.shape
        if lengths is None:
            mean = values.mean(1)  # (B, M)
        else:
            lengths = lengths.to(values.device)
            valid = torch.arange(S, device=values.device) < lengths.unsqueeze(1)  # (B, S)
            total = values.masked_fill(~valid.unsqueeze(-1), 0.0).sum(1)
            mean = total / lengths.unsqueeze(1).clamp(min=1).to(values.dtype)
        first = []
        for name, size in self.states.items():
            if f"{name}_0" in self.maps:
                state = self.maps[f"{name}_0"](mean).tanh()  # (B, L*H)
                first.append(state.unflatten(1, (self.num_layers, size)).transpose(0, 1))
            else:
                shape = (self.num_layers, B, size)
                first.append(values.new_full(shape, self.initial[name]))
        return tuple(state.contiguous() for state in first)
