"""The phones of TIMIT, and the classes into which they are folded."""

from __future__ import annotations

__all__ = ["PHONES", "folding_to"]

# Phones that are judged as another one than themselves: the phone of the 61, its class of the 48,
# and its class of the 39. An empty class is left out.
_FOLDED = """
    ao ao aa     ax ax ah     ax-h ax ah   axr er er    bcl vcl sil  dcl vcl sil  el el l
    em m m       en en n      eng ng ng    epi epi sil  gcl vcl sil  h# sil sil   hv hh hh
    ix ix ih     kcl cl sil   nx n n       pau sil sil  pcl cl sil   tcl cl sil   ux uw uw
    zh zh sh
"""
_UNCHANGED = (
    "aa ae ah aw ay b ch d dh dx eh er ey f g hh ih iy jh k l m n ng ow oy p r s sh t th uh uw v "
    "w y z"
)
_LEFT_OUT = "q"


def _classes() -> dict[str, tuple[str, str]]:
    words = _FOLDED.split()
    folded = {a: (b, c) for a, b, c in zip(words[::3], words[1::3], words[2::3], strict=True)}
    unchanged = {phone: (phone, phone) for phone in _UNCHANGED.split()}
    return {**folded, **unchanged, _LEFT_OUT: ("", "")}


PHONES: dict[str, tuple[str, str]] = dict(sorted(_classes().items()))
"""The class of each of the 61 phones among the 48 and among the 39.

The glottal stop q has none, and is left out.

Source: Lee and Hon, "Speaker-independent phone recognition using hidden Markov models" (1989),
table I.
"""


def folding_to(num_classes: int) -> dict[str, str]:
    """The class of each of the 61 phones among 61, 48 or 39 classes.

    >>> folding_to(48)["bcl"], folding_to(39)["bcl"], folding_to(39)["q"], folding_to(61)["q"]
    ('vcl', 'sil', '', 'q')
    """
    if num_classes == 61:
        return {phone: phone for phone in PHONES}
    place = (48, 39).index(num_classes)
    return {phone: classes[place] for phone, classes in PHONES.items()}
