"""A tokeniser of subwords, frequent strings of letters learned by byte-pair encoding."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Self

from throughtime.data.tokeniser import SPECIALS, UNK, Tokeniser, check_limits

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
        _library()
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

        model = Tokenizer(models.BPE(unk_token=SPECIALS[UNK], fuse_unk=False))
        model.pre_tokenizer = pre_tokenizers.Metaspace()
        model.decoder = decoders.Metaspace()
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
        from tokenizers import Tokenizer

        try:
            return cls(Tokenizer.from_str(json.dumps(value["model"])))
        except ValueError:
            raise
        # The library raises Exception itself, which has to be caught here.
        except Exception as error:
            raise ValueError(
                f"SubwordTokeniser.from_json: the model cannot be read ({error}). "
                "Pass what to_json returned."
            ) from error


def _library() -> None:
    try:
        import tokenizers  # noqa: F401
    except ImportError as error:
        raise MissingLibraryError(
            "subwords need the library tokenizers, which is not there. "
            "Install it (pip install 'throughtime[translation]'), or use --tokenisation words."
        ) from error
