"""Weighted k-nearest-neighbour vote on L2-normalised vectors, for several k at once.

DINO (arXiv 2104.14294, section 4.1 and code) weights each of the k most similar training rows by
exp(similarity / T). DINOv2's code takes a softmax over the largest requested k and truncates it to
the first k, so its scores for a smaller k sum to less than one. Both rank classes alike; here
votes are divided by their sum, because averaging over views needs a common scale.

Ties, which DINO leaves open: equally similar rows at the k-th place are kept in the order of
`torch.topk`, and of classes with equal votes the smaller index wins.

Shape letters: N training rows, B samples, V views, D width, K heads, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from bench.encoders.true_fp32 import true_fp32
from bench.errors import CheckpointError, UsageError
from bench.registry import probe
from bench.types import FeatureSource, Head, Progress, Settings
from probes.stack.gathered import GatheredProbe, gather
from probes.stack.sweep import above_zero, at_least, grid

QUERY_BLOCK, KEY_BLOCK = 512, 4096  # similarities in memory at once


@probe
def knn(*, k: tuple[int, ...] = (10, 20, 100, 200), temperature: float = 0.07) -> KnnProbe:
    """Similarity-weighted vote of the k nearest training rows (DINO); heads are the values of `k`.

    A k above the number of training rows is dropped and logged. Of several draws of training
    features only the first is used. If the encoder has no class token, the vector is the mean of
    its patch tokens.

    Raises:
        UsageError: an invalid setting.
    """
    for value in k:
        at_least("knn", 1, k=value)
    above_zero("knn", temperature=temperature)
    return KnnProbe(heads=grid("knn", k=k), temperature=temperature)


@dataclass(frozen=True, kw_only=True)
class KnnProbe(GatheredProbe):
    """Nearest-neighbour votes over vectors, one per value of k."""

    temperature: float
    name: str = "knn"

    @property
    def settings(self) -> Settings:
        """Settings that all heads share."""
        return {"temperature": self.temperature}

    def fit(
        self, source: FeatureSource, *, seed: int, device: torch.device, progress: Progress
    ) -> FittedKnn:
        """Store the training directions on `device`; `seed` has no effect.

        Raises:
            UsageError: every k is above the number of training rows, or rows have several labels.
        """
        self.check_labels(source.labels)
        fitting = tuple(head for head in self.heads if head.settings["k"] <= len(source))
        dropped = [
            {"head": dict(head.settings), "reason": f"k is above the {len(source)} training rows"}
            for head in self.heads
            if head not in fitting
        ]
        if not fitting:
            smallest = min(head.settings["k"] for head in self.heads)
            raise UsageError(
                f"probe 'knn': the smallest k is {smallest}, but there are only {len(source)}"
                " training rows; set a smaller k."
            )
        x, y = gather(source, progress)
        mean = torch.stack([unit(part).sum(dim=0) for part in torch.split(x, KEY_BLOCK)]).sum(dim=0)
        mean = mean / len(x)
        keys = torch.cat([(unit(part) - mean).float() for part in torch.split(x, KEY_BLOCK)])
        return FittedKnn(
            heads=fitting,
            log={"dropped": dropped},
            mean=mean.to(device),
            keys=keys.to(device),
            labels=y.to(device),
            num_classes=source.num_classes,
            temperature=self.temperature,
        )

    def restore(self, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, Any]) -> FittedKnn:
        """Rebuild the fitted probe from `FittedKnn.state`."""
        return FittedKnn(
            heads=tuple(Head(settings=settings) for settings in facts["heads"]),
            log=facts["log"],
            mean=tensors.get("mean", tensors["keys"].new_zeros(tensors["keys"].shape[1]).double()),
            keys=tensors["keys"],
            labels=tensors["labels"],
            num_classes=facts["num_classes"],
            temperature=facts["temperature"],
        )

    def read_released(self, path: Path) -> FittedKnn:
        """Raise `UsageError`: a vote has no weights to publish."""
        raise UsageError(f"{path}: probe 'knn' has no weights, so there is no file of it to read.")


@dataclass(frozen=True, kw_only=True, eq=False)
class FittedKnn:
    """Training rows that vote, with `labels` int64 `[N]`.

    `keys` float32 `[N, D]` are unit vectors less their `mean` float64 `[D]`: float32 would lose the
    differences of vectors with a large common part.
    """

    heads: Sequence[Head]
    log: Mapping[str, Any]
    mean: torch.Tensor
    keys: torch.Tensor
    labels: torch.Tensor
    num_classes: int
    temperature: float

    @torch.no_grad()
    @true_fp32()
    def probabilities(self, x: torch.Tensor) -> torch.Tensor:
        """Return `[K, B, C]` on the CPU from vectors `[B, V, D]`, averaged over views.

        Raises:
            CheckpointError: the training vectors are of another width.
        """
        if x.shape[-1] != self.keys.shape[1]:
            raise CheckpointError(
                f"this knn probe has vectors of width {self.keys.shape[1]}, but the encoder gives"
                f" {x.shape[-1]}; use the encoder that it was fitted on."
            )
        queries = (unit(x.flatten(0, 1).to(self.keys)) - self.mean).float()
        counts = [head.settings["k"] for head in self.heads]
        similarity, index = nearest(queries, self.keys, k=max(counts), offset=self._offset)
        votes_KXC = weighted_votes(
            similarity,
            self.labels[index],
            k=counts,
            temperature=self.temperature,
            num_classes=self.num_classes,
        )
        shares_KXC = votes_KXC / votes_KXC.sum(dim=-1, keepdim=True)
        return shares_KXC.view(len(counts), *x.shape[:2], -1).mean(dim=2).cpu()

    @cached_property
    def _offset(self) -> torch.Tensor:
        """What the mean adds to the similarity with each key, up to a constant per query, `[N]`."""
        return torch.cat(
            [(part.double() @ self.mean).float() for part in torch.split(self.keys, KEY_BLOCK)]
        )

    def only(self, index: int) -> FittedKnn:
        """Return the head `heads[index]` alone."""
        return replace(self, heads=(self.heads[index],))

    def state(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """Return tensors and facts for `KnnProbe.restore`."""
        facts = {
            "heads": [dict(head.settings) for head in self.heads],
            "log": dict(self.log),
            "num_classes": self.num_classes,
            "temperature": self.temperature,
        }
        tensors = {"mean": self.mean, "keys": self.keys, "labels": self.labels}
        return {name: tensor.cpu() for name, tensor in tensors.items()}, facts


def unit(x: torch.Tensor) -> torch.Tensor:
    """Return unit vectors `[N, D]` in float64, whatever the lengths; a zero vector stays zero."""
    wide = x.double()
    length = wide.norm(dim=-1, keepdim=True)
    return wide / torch.where(length > 0, length, 1.0)


def nearest(
    queries: torch.Tensor, keys: torch.Tensor, *, k: int, offset: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the k largest similarities of each query, descending, and their key rows, `[Q, k]`.

    Those are inner products plus the `offset` of each key, float32 `[N]`. Computed block by block
    to bound memory.
    """
    offset = keys.new_zeros(len(keys)) if offset is None else offset
    parts = []
    for block in torch.split(queries, QUERY_BLOCK):
        best = block.new_empty(len(block), 0)
        rows = torch.empty(len(block), 0, dtype=torch.int64, device=block.device)
        for start in range(0, len(keys), KEY_BLOCK):
            stop = start + KEY_BLOCK
            similarity = torch.addmm(offset[start:stop], block, keys[start:stop].T)
            found, at = similarity.topk(min(k, similarity.shape[1]), dim=1)
            pool, pool_rows = torch.cat([best, found], dim=1), torch.cat([rows, at + start], dim=1)
            best, chosen = pool.topk(min(k, pool.shape[1]), dim=1)
            rows = pool_rows.gather(1, chosen)
        parts.append((best, rows))
    similarities, nearest_rows = zip(*parts, strict=True)
    return torch.cat(similarities), torch.cat(nearest_rows)


def weighted_votes(
    similarity: torch.Tensor,
    labels: torch.Tensor,
    *,
    k: Sequence[int],
    temperature: float,
    num_classes: int,
) -> torch.Tensor:
    """Return DINOv2's class scores `[K, Q, C]` of neighbours in descending order, `[Q, largest k]`.

    The softmax runs over all given neighbours, so scores for a smaller k sum to less than 1.
    """
    weights = (similarity / temperature).softmax(dim=1)
    votes = weights.new_zeros(len(k), len(weights), num_classes)
    for scores, count in zip(votes, k, strict=True):
        scores.scatter_add_(1, labels[:, :count], weights[:, :count])
    return votes
