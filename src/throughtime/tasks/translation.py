"""translation: from a sentence of one language to the same in another."""

from __future__ import annotations

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
    reopenable,
)
from throughtime.data.pair_sets import PAIR_SETS
from throughtime.tasks.run_data import absolute
from throughtime.tasks.sequence_to_sequence import SequenceToSequence, SequenceToSequenceConfig
from throughtime.tasks.task import Figure

__all__ = ["Bleu", "Translation", "TranslationConfig", "bleu", "bleu_tokeniser"]

BleuTokeniser = Literal["13a", "intl", "zh", "ja-mecab", "ko-mecab", "char", "none"]
"""The tokenisers of sacrebleu that need no download."""

# The codes of ISO 639 for languages whose words have no spaces between them, or not where 13a
# would look for them; the tokenisers are those that sacrebleu itself takes for these languages.
_TOKENISERS: dict[str, BleuTokeniser] = {
    **dict.fromkeys(("zh", "zho", "chi", "cmn"), "zh"),
    **dict.fromkeys(("ja", "jpn"), "ja-mecab"),
    **dict.fromkeys(("ko", "kor"), "ko-mecab"),
}


@dataclass
class TranslationConfig(SequenceToSequenceConfig):
    """The sentences, how they are cut, and the settings of all tasks of sequence to sequence.

    Args:
        data: a data set (multi30k-de-en, say); SOURCE,TARGET, two files whose lines belong
            together; one file with a tab between source and target; or, with --languages, a
            prefix or a folder.
        languages: the ends of the names of two files at that prefix or in that folder, as de-en.
        encoding: of the user's own files.
        valid_fraction: how much of pairs without splits of their own is kept for validation (0.1
            where not given).
        test_fraction: likewise for the test (0 where not given).
        tokenisation: what a token is; auto takes what suits the data.
        lower_case: read words in lower case, which then is all that is written.
        min_count: how often a word must stand in the training to be known.
        vocab_size: tokens of each language at most; for subwords 8000 where not given.
        bleu_tokenize: sacrebleu's tokeniser for BLEU; where not given zh, ja-mecab or ko-mecab for
            Chinese, Japanese or Korean targets, by the name of the target's language, else 13a.
    """

    data: str = "multi30k-de-en"
    languages: str | None = None
    encoding: str = "utf-8"
    valid_fraction: float | None = None
    test_fraction: float | None = None
    tokenisation: Literal["auto", "words", "subwords", "characters", "symbols", "tagged"] = "auto"
    lower_case: bool = False
    min_count: int | None = None
    vocab_size: int | None = None
    bleu_tokenize: BleuTokeniser | None = field(default=None, metadata={"older_runs": "13a"})

    def __post_init__(self) -> None:
        super().__post_init__()
        # What is given beside a name is refused by what reads it, whatever lies in the folder.
        if self.data in PAIR_SETS:
            return
        # A run is opened from other folders too. What is no path may be a name misspelt.
        one = Path(self.data).expanduser()
        if not one.exists() and self.languages is not None:
            self.data = str(one.resolve())
        elif not one.exists() and "," in self.data:
            files = [Path(file.strip()).expanduser() for file in self.data.split(",")]
            paths = (reopenable(file) if file.exists() else file.resolve() for file in files)
            self.data = ",".join(map(str, paths))
        else:
            self.data = absolute(self.data, PAIR_SETS)


@dataclass(frozen=True)
class Bleu:
    """How near outputs are to their references, from 0 to 100.

    Args:
        cased: of the texts as they are read, tokenised by sacrebleu; the figure for languages
            that put no spaces between words, whose tokenisers it has.
        lower_tokenised: of the words of :func:`throughtime.data.words.split_words` in lower case.
        cased_signature, lower_tokenised_signature: how sacrebleu names what was measured.
    """

    cased: float
    lower_tokenised: float
    cased_signature: str
    lower_tokenised_signature: str


def bleu_tokeniser(data: str, languages: str | None) -> BleuTokeniser:
    """The tokeniser of sacrebleu that suits the target's language, where the names tell it.

    Args:
        data, languages: see :class:`TranslationConfig`. The language is the second of
            ``languages``, or an end of the name of the second of two files; a region or script
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
    """BLEU by sacrebleu.

    Args:
        references, outputs: the texts, as many of the one as of the other.
        tokenize: the tokeniser for ``cased``.

    Raises:
        MissingLibraryError: the library is not there, or one that its tokeniser needs.

    Source: Papineni et al. (2002); Post, arXiv 1804.08771.
    """
    try:
        from sacrebleu.metrics.bleu import BLEU
    except ImportError as error:
        raise MissingLibraryError(
            "translation is judged by the library sacrebleu, which is not there. "
            "Install it: pip install 'throughtime[translation]'"
        ) from error

    words = WordTokeniser(())

    def cut(texts: Sequence[str]) -> list[str]:
        return [" ".join(words.split(text)) for text in texts]

    try:
        cased = BLEU(tokenize=tokenize)
    except (ImportError, RuntimeError) as error:
        # The name of sacrebleu's extra is that of the language.
        extra = tokenize.partition("-")[0]
        raise MissingLibraryError(
            f"--bleu_tokenize {tokenize}: sacrebleu finds the words by a library that is not "
            f"there. Install it: pip install 'sacrebleu[{extra}]'; or use --bleu_tokenize char, "
            f"by which BLEU compares characters."
        ) from error
    lower = BLEU(lowercase=True, tokenize="none", force=True)
    return Bleu(
        cased=cased.corpus_score(outputs, [references]).score,
        lower_tokenised=lower.corpus_score(cut(outputs), [cut(references)]).score,
        cased_signature=str(cased.get_signature()),
        lower_tokenised_signature=str(lower.get_signature()),
    )


class Translation(SequenceToSequence):
    """Sentences of one language from those of another.

    Metrics: ``bleu``, cased, of the text as people read it; ``bleu_lower_tokenised``, of its words
    in lower case. Their signatures are in the run's config.json.

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
        )

    def fit_tokenisers(self) -> tuple[Tokeniser, Tokeniser]:
        c, pairs = self.config, self.pairs.splits["train"]
        is_known = c.tokenisation == "auto"
        kinds = self.pairs.kinds if is_known else (c.tokenisation, c.tokenisation)
        options = {"min_count": c.min_count, "max_size": c.vocab_size}
        given = {name: value for name, value in options.items() if value is not None}
        if c.lower_case and "words" not in kinds:
            raise ValueError(
                f"--lower_case is for words, and would have no effect on {' and '.join(kinds)}. "
                "Leave it out, or use --tokenisation words."
            )
        source, target = (
            fit_tokeniser(
                kind,
                [pair[side] for pair in pairs],
                **given | ({"lower_case": c.lower_case} if kind == "words" else {}),
            )
            for side, kind in enumerate(kinds)
        )
        return source, target

    def judge(self, pairs: Sequence[Pair], outputs: Sequence[str]) -> dict[str, float]:
        result = bleu([pair.target for pair in pairs], outputs, self.bleu_tokenize)
        return {"bleu": result.cased, "bleu_lower_tokenised": result.lower_tokenised}

    @property
    def bleu_tokenize(self) -> BleuTokeniser:
        """The tokeniser of sacrebleu, by the settings or by the target's language."""
        c = self.config
        return c.bleu_tokenize or bleu_tokeniser(c.data, c.languages)

    @property
    def signatures(self) -> dict[str, str]:
        result = bleu(["a"], ["a"], self.bleu_tokenize)
        return {
            "bleu": result.cased_signature,
            "bleu_lower_tokenised": result.lower_tokenised_signature,
        }
