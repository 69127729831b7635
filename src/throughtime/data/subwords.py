"""A tokeniser of subwords, frequent strings of letters learned by byte-pair encoding."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Self

from throughtime.data.tokeniser import SPECIALS, UNK, Tokeniser, check_limits
from throughtime.reading import Entries, ReadError, entry, shown, typed

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

__all__ = ["MissingLibraryError", "SubwordTokeniser"]


_SURROGATE = re.compile("[\ud800-\udfff]")


class MissingLibraryError(ImportError, ValueError):
    """A library that a setting needs is not installed.

    Also a ValueError, because it is reported to the user like any other setting that cannot be
    used.
    """


class SubwordTokeniser(Tokeniser):
    """Byte-pair encoding with the library tokenizers.

    Frequent words are single tokens, and rare words are split into several. A space is part of the
    token that follows it, so decoding restores the text, except for a space at its start.

    Args:
        model: a model of the library, trained with the special ids 0 to 3; see :meth:`fit`.

    Raises:
        MissingLibraryError: if the library is not installed.

    Source: Sennrich, Haddow and Birch, arXiv 1508.07909.
    """

    kind: ClassVar[str] = "subwords"
    unit: ClassVar[str] = "subwords"

    def __init__(self, model: Tokenizer) -> None:
        for number, special in enumerate(SPECIALS):
            if model.token_to_id(special) != number:
                raise ValueError(
                    f"SubwordTokeniser: expected a model in which {special} has the id {number}, "
                    f"got {model.token_to_id(special)}. Make one with SubwordTokeniser.fit."
                )
        # Otherwise "<eos>" in a text would become the end token.
        model.encode_special_tokens = True
        self._model = model

    @classmethod
    def fit(
        cls, texts: Iterable[str], *, max_size: int | None = None, min_count: int = 2
    ) -> SubwordTokeniser:
        """Learns the vocabulary of subwords.

        Args:
            texts: the texts of the training split.
            max_size: the largest V; None is 8000. If the texts have more different characters, the
                rarest ones are unknown.
            min_count: how often two neighbouring pieces must occur to be merged.

        Raises:
            ValueError: if a number is out of range.
        """
        check_limits(cls.__name__, min_count, max_size)
        size = 8000 if max_size is None else max_size
        model = _assembled({}, [])
        from tokenizers import trainers

        trainer = trainers.BpeTrainer(
            vocab_size=size,
            # Without this the library includes all characters, even beyond vocab_size.
            limit_alphabet=size - len(SPECIALS),
            min_frequency=min_count,
            special_tokens=list(SPECIALS),
            show_progress=False,
        )
        model.train_from_iterator(texts, trainer)
        return cls(model)

    def __len__(self) -> int:
        return self._model.get_vocab_size()

    def encode(self, text: str) -> list[int]:
        return self._encoded(text).ids

    def _encoded(self, text: str) -> Encoding:
        # The library refuses surrogates, which Python uses for bytes that are not UTF-8.
        text = _SURROGATE.sub("\ufffd", text)
        return self._model.encode(text, add_special_tokens=False)

    def decode(self, ids: Iterable[int]) -> str:
        return self._model.decode(self._ids_up_to_the_end(ids), skip_special_tokens=False)

    def unknown(self, text: str) -> list[str]:
        encoding = self._encoded(text)
        return [
            text[begin:end]
            for number, (begin, end) in zip(encoding.ids, encoding.offsets, strict=True)
            if number == UNK
        ]

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "model": json.loads(self._model.to_str())}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        _library()
        content = typed("model", value.get("model"), Entries({"model": dict[str, Any]}, others=Any))
        vocabulary, merges = _pieces(content["model"])
        model = _assembled(vocabulary, merges)
        model.add_special_tokens(list(SPECIALS))
        written = json.loads(model.to_str())
        for where, ours, theirs in (
            ("model", written, content),
            ("model: model", written["model"], content["model"]),
        ):
            for name in theirs:
                # Versions of the library differ in what they write where there is nothing.
                is_other = (theirs[name] or None) != (ours.get(name) or None)
                if is_other and name not in ("model", "version", "vocab", "merges"):
                    raise ReadError(
                        entry(where, name),
                        f"expected {shown(ours.get(name))}, as SubwordTokeniser.fit makes it, got "
                        f"{shown(theirs[name])}.",
                    )
        return cls(model)


def _pieces(content: dict[str, Any]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """The pieces with their ids, and the merges; the library itself dies of wrong ones."""
    where = "model: model"
    kinds = {"vocab": dict[str, int], "merges": list[list[str] | str]}
    content = typed(where, content, Entries(kinds, others=Any))
    vocabulary = content["vocab"]
    if sorted(vocabulary.values()) != list(range(len(vocabulary))):
        raise ReadError(
            entry(where, "vocab"), f"expected the ids from 0 to {len(vocabulary) - 1}, each once."
        )
    merges = []
    for number, merge in enumerate(content["merges"]):
        # Older versions of the library write a space between the two.
        parts = merge.split(" ") if isinstance(merge, str) else merge
        if len(parts) != 2 or not {*parts, "".join(parts)} <= vocabulary.keys():
            raise ReadError(
                entry(entry(where, "merges"), number),
                f"expected two pieces that make a third, got {shown(merge)}.",
            )
        merges.append((parts[0], parts[1]))
    if any(map(_SURROGATE.search, vocabulary)):
        raise ReadError(entry(where, "vocab"), "expected pieces of whole characters.")
    return vocabulary, merges


def _assembled(vocabulary: dict[str, int], merges: list[tuple[str, str]]) -> Tokenizer:
    """The library's tokeniser of these pieces, and of the merges by which they come about."""
    _library()
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    model = Tokenizer(
        models.BPE(vocab=vocabulary, merges=merges, unk_token=SPECIALS[UNK], fuse_unk=False)
    )
    model.pre_tokenizer = pre_tokenizers.Metaspace()
    model.decoder = decoders.Metaspace()
    return model


def _library() -> None:
    try:
        import tokenizers  # noqa: F401
    except ImportError as error:
        raise MissingLibraryError(
            "subwords need the library tokenizers, which is not there. "
            "Install it (pip install 'throughtime[translation]'), or use --tokenisation words."
        ) from error
