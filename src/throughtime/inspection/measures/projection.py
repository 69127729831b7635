"""Projections of states and embeddings to two dimensions, for pictures."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from throughtime.checks import shape_is

__all__ = ["Projection", "embeddings", "pca", "tsne"]

_PERPLEXITY = 30.0


class Projection(NamedTuple):
    """Points in few dimensions.

    Args:
        points: (N, K) float64.
        explained: (K), the share of the variance along each dimension; empty where the dimensions
            have no such meaning.
    """

    points: Tensor
    explained: Tensor


def pca(values: Tensor, num_dimensions: int = 2) -> Projection:
    r"""The principal components of points, by the singular values of the centred matrix:

        X - mean X = U S V^T;   points = U S;   explained_k = s_k^2 / sum_j s_j^2

    Args:
        values: (N, W), one point in each row: states at N steps, or embeddings of N tokens.
        num_dimensions: K. Dimensions that the points do not have are 0.

    Each component is signed so that its largest weight in V is positive.

    Source: H. Hotelling, Journal of Educational Psychology 24 (1933).

    >>> pca(torch.tensor([[0.0, 0.0], [3.0, 4.0]])).explained.round().tolist()
    [1.0, 0.0]
    """
    x = _points("pca", values)
    U, S, V = torch.linalg.svd(x - x.mean(0), full_matrices=False)
    largest = V.abs().argmax(-1, keepdim=True)
    signs = torch.where(V.gather(-1, largest).squeeze(-1) < 0, -1.0, 1.0)
    points, shares = U * (S * signs), S**2 / (S**2).sum().clamp(min=1e-300)
    missing = max(0, num_dimensions - len(S))
    points = nn.functional.pad(points, (0, missing))[:, :num_dimensions]
    return Projection(points, nn.functional.pad(shares, (0, missing))[:num_dimensions])


def tsne(values: Tensor, *, perplexity: float = _PERPLEXITY, seed: int = 0) -> Projection:
    r"""t-SNE: points whose distances keep the neighbours of each point, computed by openTSNE.

    Args:
        values: (N, W), one point in each row.
        perplexity: about how many neighbours a point has; at most a third of the other points.
        seed: of the random numbers; an equal seed gives equal points.

    Raises:
        ImportError: if openTSNE is not installed.
        ValueError: for fewer than 4 points.

    Source: van der Maaten and Hinton, Journal of Machine Learning Research 9 (2008).
    """
    x = _points("tsne", values)
    if len(x) < 4:
        raise ValueError(f"tsne: expected at least 4 points, got {len(x)}.")
    try:
        package = importlib.import_module("openTSNE")
    except ImportError as error:
        raise ImportError(
            'tsne: the package openTSNE is missing. Install it (pip install "throughtime[lens]"), '
            "or choose pca."
        ) from error
    largest = (len(x) - 1) / 3
    fit = package.TSNE(perplexity=min(perplexity, largest), random_state=seed, n_jobs=1).fit
    return Projection(torch.tensor(fit(x.numpy()), dtype=torch.float64), torch.empty(0))


def embeddings(model: nn.Module) -> Mapping[str, Tensor]:
    """The weights (V, E) of all embeddings of a model, by the path of the module."""
    modules = dict(model.named_modules())
    return {
        name: module.weight.detach()
        for name, module in modules.items()
        if isinstance(module, nn.Embedding)
    }


def _points(where: str, values: Tensor) -> Tensor:
    """The points as float64 on the CPU."""
    shape_is(where, "values", values, ("N", "W"))
    if not values.numel():
        raise ValueError(f"{where}: expected at least one point, got shape {tuple(values.shape)}.")
    if not bool(torch.isfinite(values).all()):
        raise ValueError(f"{where}: expected finite values, got infinite values or NaN.")
    return values.detach().double().cpu()
