"""Whole networks: from sequences to scores. No loss, no optimiser."""

from throughtime.models.language_model import LanguageModel

__all__ = ["LanguageModel"]
