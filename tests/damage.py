"""Damage for the tests: of bytes, of JSON values, and of the tensors of a checkpoint.

All of it is drawn from a ``random.Random``, or from hypothesis' ``st.randoms()``.
"""

import copy

import torch

JUNK = [
    None, True, False, 0, 1, -1, 3, 1.5, -0.0, 2**31, 2**53 + 1, 2**70, -(2**70), 1e308, "", "x",
    "null", "1e9", "\ud800", "\x00", "x" * 5000, [], {}, [1], [None], {"a": 1}, [["a"]],
    {"kind": "words"}, list(range(500)),
]  # fmt: skip


def damaged_bytes(content, draw):
    """Changes, cuts, doubles or inserts bytes at a random place."""
    content = bytearray(content)
    place = draw.randrange(max(1, len(content)))
    length = draw.choice([1, 1, 2, 8, 64, 1000])
    match draw.randrange(5):
        case 0:
            for k in range(place, min(len(content), place + length)):
                content[k] ^= draw.randrange(1, 256)
        case 1:
            del content[place:]
        case 2:
            del content[place : place + length]
        case 3:
            content[place:place] = content[place : place + length] or b"\x00"
        case 4:
            content[place : place + length] = bytes([draw.randrange(256)]) * length
    return bytes(content)


def damaged_json(value, draw):
    """A copy in which one entry is removed, replaced, doubled under another name, or wrapped."""
    value = copy.deepcopy(value)
    places = [(parent, name) for parent, name in _places(value)]
    parent, name = draw.choice(places)
    match draw.randrange(8):
        case 0:
            del parent[name]
        case 1:
            parent[name] = [parent[name]]
        case 2:
            for _ in range(draw.choice([3, 80])):
                parent[name] = {"a": parent[name]}
        case 3 if isinstance(parent, dict):
            parent[draw.choice(["", "more", name + "s", "\ud800"])] = parent[name]
        case _:
            parent[name] = draw.choice(JUNK)
    return value


def _places(value):
    names = value if isinstance(value, dict) else range(len(value))
    for name in names:
        yield value, name
        if isinstance(value[name], dict | list):
            # Of a vocabulary of thousands, a selection is enough.
            if len(value[name]) < 50:
                yield from _places(value[name])
            else:
                inner = value[name]
                keys = list(inner)[:5] if isinstance(inner, dict) else range(5)
                yield from ((inner, key) for key in keys)


def damaged_state(state, draw):
    """A copy of a checkpoint's content in which one entry has another type."""
    state = copy.deepcopy(state)
    parent, name = draw.choice(list(_leaves(state)))
    value = parent[name]
    if isinstance(value, torch.Tensor) and draw.random() < 0.7:
        parent[name] = draw.choice(_TENSORS)(value)
        return state
    match draw.randrange(4):
        case 0:
            del parent[name]
        case 1 if isinstance(parent, dict):
            parent[f"{name}s"] = value
        case _:
            parent[name] = draw.choice([*JUNK, float("nan"), float("inf"), torch.zeros(3), (1, 2)])
    return state


_TENSORS = [
    lambda t: t[None],
    lambda t: torch.cat([t.flatten(), t.flatten()]),
    lambda t: t.flatten()[:-1],
    lambda t: t.new_zeros(0),
    lambda t: t.new_zeros(1_000_000),
    lambda t: t.to(torch.float64 if t.dtype != torch.float64 else torch.float32),
    lambda t: t.to(torch.int32),
    lambda t: t.to(torch.complex64),
    lambda t: t.float() * float("nan"),
    lambda t: t.to_sparse() if t.dim() else t[None],
    lambda t: t.new_zeros(1).expand(7),
    lambda t: t.tolist(),
]


def _leaves(value):
    names = value if isinstance(value, dict) else range(len(value))
    for name in names:
        yield value, name
        if isinstance(value[name], dict | list):
            yield from _leaves(value[name])
