"""translation: translates sentences of one language into another."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from throughtime.data import (
    MissingLibraryError,
    Pair,
    PairSet,
    Tokeniser,
    WordTokeniser,
    fit_tokeniser,
    load_pairs,
)
from throughtime.data.pair_sets import PAIR_SETS
from throughtime.data.splits import Cut
from throughtime.data.tokenisation import kind_for_targets, round_trip
from throughtime.tasks.network import MAY_BE_MISSING
from throughtime.tasks.run_data import absolute_files
from throughtime.tasks.sequence_to_sequence import SequenceToSequence, SequenceToSequenceConfig
from throughtime.tasks.task import Figure

__all__ = ["Bleu", "Translation", "TranslationConfig", "bleu", "bleu_tokeniser"]

_log = logging.getLogger(__name__)

BleuTokeniser = Literal["13a", "intl", "zh", "ja-mecab", "ko-mecab", "char", "none"]
"""The tokenisers of sacrebleu that need no download."""

# sacrebleu's own choice for languages that do not separate words by spaces, or not as its default
# tokeniser 13a expects; by ISO 639 code.
_TOKENISERS: dict[str, BleuTokeniser] = {
    **dict.fromkeys(("zh", "zho", "chi", "cmn"), "zh"),
    **dict.fromkeys(("ja", "jpn"), "ja-mecab"),
    **dict.fromkeys(("ko", "kor"), "ko-mecab"),
}


@dataclass
class TranslationConfig(SequenceToSequenceConfig):
    """The sentences, the tokenisation, and the settings of all sequence-to-sequence tasks.

    Args:
        data: name of a data set (for example multi30k-de-en); one file with source, tab and target
            on each line; a folder with such files, train.tsv, valid.tsv and test.tsv (the last two
            may be missing); SOURCE,TARGET, two files with corresponding lines; or, with
            --languages, the prefix of two files or a folder of files.
        languages: file name endings of source and target, at the prefix or in the folder of
            --data (for example de-en).
        encoding: encoding of the files of --data, as Python names it.
        valid_fraction: fraction of the pairs that is kept for validation, if the data set has no
            splits (default: 0.1).
        test_fraction: fraction of the pairs that is kept for the test (default: 0).
        split: how one file is cut into training, validation and test: order, one after the other;
            random, single pairs (those of equal sources together); blocks, parts of ten blocks of
            consecutive pairs.
        tokenisation: how a text is split into tokens; auto is what suits the data set. For your own
            data that is words, if they reproduce nine of ten targets of the training exactly; else
            (for code, say) subwords, or characters if there are few pairs.
        lower_case: convert words to lower case, in sources and in outputs.
        min_count: how often a word must occur in the training split to be in the vocabulary
            (default: 1); for subwords, how often two pieces must be neighbours to become one
            (default: 2).
        vocab_size: largest size of the vocabulary of each language, with its four special tokens
            (default: 8000 for subwords, else no limit).
        bleu_tokenize: sacrebleu's tokeniser for BLEU (default: zh, ja-mecab or ko-mecab if the
            file names say that the target is Chinese, Japanese or Korean, else 13a).
    """

    data: str = "multi30k-de-en"
    languages: str | None = None
    encoding: str = "utf-8"
    valid_fraction: float | None = None
    test_fraction: float | None = None
    split: Cut = field(default="order", metadata=MAY_BE_MISSING)
    tokenisation: Literal["auto", "words", "subwords", "characters", "symbols", "tagged"] = "auto"
    lower_case: bool = False
    min_count: int | None = None
    vocab_size: int | None = None
    bleu_tokenize: BleuTokeniser | None = field(default=None, metadata={"older_runs": "13a"})

    def __post_init__(self) -> None:
        super().__post_init__()
        # Paths become absolute, because a run may be opened from another folder. The name of a data
        # set stays a name, even if the current folder has such a file.
        path = Path(self.data).expanduser()
        if self.data not in PAIR_SETS and self.languages is not None and not path.exists():
            self.data = str(path.resolve())
        else:
            self.data = absolute_files(self.data, PAIR_SETS)


@dataclass(frozen=True)
class Bleu:
    """Two variants of BLEU, the similarity of outputs and references from 0 to 100.

    Args:
        cased: BLEU of the texts as they are, tokenised by sacrebleu. Use this one for languages
            without spaces between words, for which sacrebleu has tokenisers.
        lower_tokenised: BLEU of the words that :func:`throughtime.data.words.split_words` finds, in
            lower case.
        cased_signature, lower_tokenised_signature: sacrebleu's signatures of the two variants.
    """

    cased: float
    lower_tokenised: float
    cased_signature: str
    lower_tokenised_signature: str


def bleu_tokeniser(data: str, languages: str | None) -> BleuTokeniser:
    """The tokeniser of sacrebleu that suits the target's language; 13a if that is not known.

    Args:
        data, languages: see :class:`TranslationConfig`. The target's language is the second one of
            ``languages``, or the ending of the second file name of ``data``. A region or a script
            may follow it (zh_CN).

    >>> bleu_tokeniser("corpus/train", "de-zh"), bleu_tokeniser("train.en,train.ja.gz", None)
    ('zh', 'ja-mecab')
    >>> bleu_tokeniser("multi30k-de-en", None)
    '13a'
    """
    if languages is not None:
        ends = languages.split("-", 1)[1:]
    else:
        ends = Path(data.partition(",")[2].strip()).name.split(".")[1:]
    codes = [re.split("[-_]", end.lower())[0] for end in ends]
    for code in codes:
        if code in _TOKENISERS:
            return _TOKENISERS[code]
    return "13a"


def bleu(
    references: Sequence[str], outputs: Sequence[str], tokenize: BleuTokeniser = "13a"
) -> Bleu:
    """Computes BLEU with the library sacrebleu.

    Args:
        references, outputs: the texts, one output for each reference.
        tokenize: sacrebleu's tokeniser for ``cased``.

    Raises:
        MissingLibraryError: if sacrebleu, or a library that its tokeniser needs, is not installed.

    Source: Papineni et al. (2002); Post, arXiv 1804.08771.
    """
    try:
        from sacrebleu.metrics.bleu import BLEU
    except ImportError as error:
        raise MissingLibraryError(
            "translation is evaluated with the library sacrebleu, which is not there. "
            "Install it: pip install 'throughtime[translation]'"
        ) from error

    words = WordTokeniser(())

    def cut(texts: Sequence[str]) -> list[str]:
        return [" ".join(words.split(text)) for text in texts]

    try:
        cased = BLEU(tokenize=tokenize)
    except (ImportError, RuntimeError) as error:
        # sacrebleu has an extra for each of these languages, named by its code.
        extra = tokenize.partition("-")[0]
        raise MissingLibraryError(
            f"--bleu_tokenize {tokenize}: sacrebleu finds the words with a library that is not "
            f"installed. Install it: pip install 'sacrebleu[{extra}]'; or use --bleu_tokenize "
            f"char, with which BLEU compares characters."
        ) from error
    lower = BLEU(lowercase=True, tokenize="none", force=True)
    return Bleu(
        cased=cased.corpus_score(outputs, [references]).score,
        lower_tokenised=lower.corpus_score(cut(outputs), [cut(references)]).score,
        cased_signature=str(cased.get_signature()),
        lower_tokenised_signature=str(lower.get_signature()),
    )


class Translation(SequenceToSequence):
    """The translation of a sentence.

    Metrics: ``bleu``, of the cased text; ``bleu_lower_tokenised``, of its words in lower case. The
    run's config.json holds sacrebleu's signatures of both.

    Source: Sutskever, Vinyals and Le, arXiv 1409.3215; Bahdanau, Cho and Bengio, arXiv 1409.0473.
    """

    name = "translation"
    Config = TranslationConfig
    judged: Mapping[str, Figure] = {
        "bleu": Figure("BLEU", "higher"),
        "bleu_lower_tokenised": Figure("BLEU", "higher"),
    }

    def read_pairs(self) -> PairSet:
        c = self.config
        return load_pairs(
            c.data,
            languages=c.languages,
            encoding=c.encoding,
            valid_fraction=c.valid_fraction,
            test_fraction=c.test_fraction,
            cut=c.split,
        )

    def fit_tokenisers(self) -> tuple[Tokeniser, Tokeniser]:
        c, pairs = self.config, self.pairs.splits["train"]
        kinds = (c.tokenisation, c.tokenisation)
        if c.tokenisation == "auto":
            kinds = self.pairs.kinds
            # Options of words say that words are wanted.
            if c.data not in PAIR_SETS and not c.lower_case:
                kinds = self._kinds_by_round_trip()
        limits = {"min_count": c.min_count, "max_size": c.vocab_size}
        limits = {name: value for name, value in limits.items() if value is not None}
        if c.lower_case and "words" not in kinds:
            raise ValueError(
                f"--lower_case is for words, and would have no effect on {' and '.join(kinds)}. "
                "Leave it out, or use --tokenisation words."
            )
        source, target = (
            fit_tokeniser(
                kind,
                [pair[side] for pair in pairs],
                **limits | ({"lower_case": c.lower_case} if kind == "words" else {}),
            )
            for side, kind in enumerate(kinds)
        )
        return source, target

    def _kinds_by_round_trip(self) -> tuple[str, str]:
        """The tokenisers of the user's own pairs: words, if they reproduce the targets."""
        sources, targets = zip(*self.pairs.splits["train"], strict=True)
        words = WordTokeniser(())
        share, example = round_trip(words, targets)
        target = kind_for_targets(targets)
        if target == "words" or example is None:
            return "words", "words"
        # A source is only read; but where it looks like the targets, parts of it may be copied.
        source = target if round_trip(words, sources)[0] < 0.9 else "words"
        _log.warning(
            "%s: words reproduce %.0f %% of the targets exactly (%r comes back as %r), so the "
            "targets are split into %s, and the sources into %s. Choose others by --tokenisation.",
            *(self.pairs.name, 100 * share, *example, target, source),
        )
        return source, target

    def judge(self, pairs: Sequence[Pair], outputs: Sequence[str]) -> dict[str, float]:
        result = bleu([pair.target for pair in pairs], outputs, self.bleu_tokenize)
        return {"bleu": result.cased, "bleu_lower_tokenised": result.lower_tokenised}

    @property
    def bleu_tokenize(self) -> BleuTokeniser:
        """sacrebleu's tokeniser: the one of the settings, else by the target's language."""
        c = self.config
        return c.bleu_tokenize or bleu_tokeniser(c.data, c.languages)

    @property
    def signatures(self) -> dict[str, str]:
        result = bleu(["a"], ["a"], self.bleu_tokenize)
        return {
            "bleu": result.cased_signature,
            "bleu_lower_tokenised": result.lower_tokenised_signature,
        }
