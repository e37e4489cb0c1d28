"""Simulated honest models that are weak in many ways: class by class, what they predict.

Honest means that nothing is wrong with the label map: a class is taken for another one as often as
one likes, but the labels are what the model was trained for. Every kind is a function of (random
generator, number of classes) to a confusion matrix `[C, C]` whose rows sum to 1.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def guessing(rng: np.random.Generator, c: int) -> np.ndarray:
    """The label has no influence; some guess a few classes only."""
    return np.tile(rng.dirichlet(np.full(c, rng.choice([0.05, 0.3, 1, 100]))), (c, 1))


def few_classes(rng: np.random.Generator, c: int) -> np.ndarray:
    """One to five classes are ever predicted, those with some skill or none."""
    known = rng.choice(c, int(rng.integers(1, 1 + min(c, 5))), replace=False)
    matrix = np.zeros((c, c))
    matrix[:, known] = rng.dirichlet(np.ones(len(known)), size=c if rng.random() < 0.3 else 1)
    if rng.random() < 0.7:
        matrix[known] *= 0.5
        matrix[known, known] += 0.5
    return matrix


def pairs(rng: np.random.Generator, c: int) -> np.ndarray:
    """Left and right: mirrored about half of the time, told apart badly, or all taken for one."""
    spread = rng.uniform(0, 0.6)
    matrix = np.full((c, c), spread / c)
    order = rng.permutation(c)
    for a, b in zip(order[0::2], order[1::2], strict=False):
        kind = rng.integers(3)
        if kind == 0:
            own_a, own_b = rng.uniform(0.45, 0.6, 2)
        elif kind == 1:
            own_a, own_b = rng.uniform(0.5, 1, 2)
        else:
            own_a = rng.uniform(0.9, 1)
            own_b = rng.uniform(0, 1.05 - own_a)
        for own, one, other in ((own_a, a, b), (own_b, b, a)):
            matrix[one, one] += (1 - spread) * own
            matrix[one, other] += (1 - spread) * (1 - own)
    if c % 2:
        matrix[order[-1], order[-1]] += 1 - spread
    return matrix


def groups(rng: np.random.Generator, c: int) -> np.ndarray:
    """Groups of alike classes, with classes that attract the predictions of others."""
    group = rng.integers(0, max(1, c // int(rng.integers(2, 8))), c)
    alike = np.where(group[:, None] == group[None], rng.uniform(0.5, 6), 0)
    logits = alike + rng.uniform(0, 2) * np.eye(c) + rng.normal(0, rng.choice([0, 2]), c)
    return softmax(logits)


def structured(rng: np.random.Generator, c: int) -> np.ndarray:
    """Right between chance and 30 %, all errors of a class on few others (Dirichlet)."""
    own = rng.uniform(1 / c, max(0.3, 1 / c))
    matrix = np.zeros((c, c))
    others = ~np.eye(c, dtype=bool)
    matrix[others] = ((1 - own) * dirichlet(rng, rng.choice([0.02, 0.05, 0.1, 0.3, 1]), c)).ravel()
    return matrix + own * np.eye(c)


def leaning(rng: np.random.Generator, c: int) -> np.ndarray:
    """Whole rows from a Dirichlet that leans to the own class, and now and then misses it."""
    alpha, factor = rng.choice([0.05, 0.1, 0.3, 1]), rng.choice([2, 5, 20])
    base = alpha * (1 + (factor - 1) * np.eye(c))
    return normalised(np.maximum(rng.gamma(base), 1e-300))


def ordinal(rng: np.random.Generator, c: int) -> np.ndarray:
    """Ordered classes (counts, speeds) that are read too high or too low, by up to half a step."""
    steps = np.arange(c)
    return around(rng, np.clip(steps + rng.uniform(-0.5, 0.5), 0, c - 1))


def to_the_middle(rng: np.random.Generator, c: int) -> np.ndarray:
    """Up to 12 ordered classes whose extremes are read as less extreme ones."""
    c = min(c, 12)
    middle = (c - 1) / 2
    return around(rng, middle + rng.uniform(0.3, 1) * (np.arange(c) - middle))


def nearest_centre(rng: np.random.Generator, c: int) -> np.ndarray:
    """Shots of few examples on poor features, scored on data that have moved."""
    width = int(rng.integers(1, 33))
    centres = rng.normal(size=(c, width)) * rng.choice([0.1, 0.5, 1, 2])
    learned = centres + rng.normal(size=(c, width)) / np.sqrt(rng.integers(1, 10))
    moved = centres + rng.choice([0, 0.5, 1]) * rng.normal(size=(c, width))
    moved = moved + rng.choice([0, 1]) * rng.normal(size=width)
    x = moved[:, None] + rng.normal(size=(c, 60, width))
    distance = (learned**2).sum(1) - 2 * x @ learned.T
    return normalised(np.stack([np.bincount(row, minlength=c) for row in distance.argmin(-1)]))


KINDS = [
    guessing, few_classes, pairs, groups, structured, leaning, ordinal, to_the_middle,
    nearest_centre,
]  # fmt: skip


def weak_model(
    kind: Callable[..., np.ndarray], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, int]:
    """Return (predicted, labels, number of classes) of one model: 2 to 400 classes, 2 to 50 rows a
    class, balanced or not, in an order that has nothing to do with either."""
    c = int(np.exp(rng.uniform(np.log(2), np.log(401))))
    matrix = kind(rng, c)
    return *draw(rng, matrix, class_sizes(rng, len(matrix))), len(matrix)


def class_sizes(rng: np.random.Generator, c: int) -> np.ndarray:
    kind = rng.integers(4)
    if kind < 2:
        return np.full(c, rng.integers(2, 51))
    return (
        rng.integers(2, 51, c) if kind == 2 else np.clip(50 * rng.power(0.5, c), 2, 50).astype(int)
    )


def draw(
    rng: np.random.Generator, matrix: np.ndarray, sizes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return (predicted, labels) of `sizes` rows a class, shuffled."""
    labels = np.repeat(np.arange(len(matrix)), sizes)
    predicted = np.concatenate(
        [rng.choice(len(matrix), size, p=row) for row, size in zip(matrix, sizes, strict=True)]
    )
    order = rng.permutation(len(labels))
    return predicted[order], labels[order]


def decent(rng: np.random.Generator, c: int, accuracy: float) -> np.ndarray:
    """A model that is right `accuracy` of the time, not in every class alike; most errors of a
    class go to up to five classes that are like it."""
    own = np.clip(rng.beta(8 * accuracy, 8 * (1 - accuracy), c), 0.05, 0.99)
    matrix = np.full((c, c), 0.3 / (c - 1))
    for label in range(c):
        others = np.delete(np.arange(c), label)
        alike = rng.choice(others, min(5, c - 1), replace=False)
        matrix[label, alike] += 0.7 * rng.dirichlet(np.ones(len(alike)))
    np.fill_diagonal(matrix, 0)
    return matrix * (1 - own)[:, None] + np.diag(own)


def around(rng: np.random.Generator, read_as: np.ndarray) -> np.ndarray:
    steps = np.arange(len(read_as))
    return softmax(-0.5 * ((steps - read_as[:, None]) / rng.uniform(0.3, 2)) ** 2)


def dirichlet(rng: np.random.Generator, alpha: float, c: int) -> np.ndarray:
    """C rows over C - 1 other classes."""
    return normalised(np.maximum(rng.gamma(alpha, size=(c, c - 1)), 1e-300))


def softmax(logits: np.ndarray) -> np.ndarray:
    return normalised(np.exp(logits - logits.max(axis=1, keepdims=True)))


def normalised(matrix: np.ndarray) -> np.ndarray:
    return matrix / matrix.sum(axis=1, keepdims=True)
