"""Heads in another order of classes: through names, through training rows, or stopped."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.data.discover.label_map import LabelMap
from bench.data.manifest import Manifest
from bench.data.read_manifest import read_list
from bench.errors import DataError, UsageError
from bench.evaluate.fit_and_score import predict
from bench.evaluate.head_order import (
    HeadOrder,
    Reordered,
    learned_order,
    named_order,
    parse_head_classes,
    read_head_order,
)
from bench.evaluate.permuted_labels import check_labels
from bench.evaluate.probe_files import load_fitted, save_fitted
from bench.evaluate.released_head import learn_head_order
from bench.types import Fitted, Head, Silent
from probes.knn import knn
from probes.linear import linear
from tests.metrics.weak_models import decent, draw
from tests.probes.sources import MemorySource, blobs

CPU = torch.device("cpu")
KINETICS = ["abseiling", "air drumming", "shooting goal (soccer)", "tying knot (not on a tie)"]
CLASSES = [f"class {i}" for i in range(12)]


class Columns:
    """A head whose features are its probabilities, averaged over views."""

    heads = (Head(settings={}),)
    log = {"released": "head.pth"}  # noqa: RUF012

    def probabilities(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(dim=1)[None]

    def state(self) -> tuple[dict[str, Any], dict[str, Any]]:
        return {}, {}


def labels(names: Sequence[str] = KINETICS) -> LabelMap:
    return LabelMap(names=names, source="test")


def head_and_rows(
    c: int, rows: int, accuracy: float, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (columns predicted by a head in a drawn order, labels, that order)."""
    rng = np.random.default_rng(seed)
    predicted, truth = draw(rng, decent(rng, c, accuracy), np.full(c, rows))
    columns = rng.permutation(c)
    return columns[predicted], truth, columns


# --------------------------------------------------------------------------------------- names
def test_names_put_the_columns_of_a_head_into_the_order_of_the_task() -> None:
    order = named_order(["c", "a", "b"], labels(["a", "b", "c"]), source="list")
    assert order.columns.tolist() == [1, 2, 0]
    x = torch.tensor([[[0.7, 0.2, 0.1]], [[0.0, 0.4, 0.6]]])  # columns c, a, b
    reordered = Reordered(fitted=Columns(), order=order)
    torch.testing.assert_close(
        reordered.probabilities(x), torch.tensor([[[0.2, 0.1, 0.7], [0.4, 0.6, 0.0]]])
    )
    assert reordered.heads == Columns.heads
    assert reordered.log == {
        "released": "head.pth",
        "head_order": {"source": "list", "digest": order.digest},
    }


@pytest.mark.parametrize("layout", ["lines", "json"])
def test_head_classes_are_read_however_they_are_spelled_and_laid_out(
    tmp_path: Path, layout: str
) -> None:
    names = ["Tying_knot_(not_on_a_tie)", '"air drumming"', "shooting_goal_(soccer)", "abseiling"]
    path = tmp_path / ("head.json" if layout == "json" else "head.txt")
    if layout == "json":
        path.write_text(json.dumps({name: i for i, name in enumerate(names)}))
    else:
        path.write_text("\n".join(names))
    order = read_head_order(path, labels())
    assert order.columns.tolist() == [3, 1, 2, 0] and order.source == str(path)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["abseiling", "air drumming", "shooting goal (soccer)"], "missing: 'tying knot"),
        ([*KINETICS[:3], "juggling"], "unknown: 'juggling'; missing: 'tying knot"),
        ([*KINETICS, "Air_drumming"], "named twice: 'air drumming'"),
        ([*KINETICS, "nothing"], "It has 5 names; unknown: 'nothing'"),
    ],
)
def test_missing_unknown_and_repeated_names_are_named(names: list[str], said: str) -> None:
    with pytest.raises(UsageError) as error:
        named_order(names, labels(), source="head.txt")
    assert said in str(error.value)


def test_head_with_another_number_of_classes_is_refused() -> None:
    reordered = Reordered(fitted=Columns(), order=HeadOrder(columns=np.array([1, 0]), source=""))
    with pytest.raises(UsageError, match="has 3 classes, but the task has 2"):
        reordered.probabilities(torch.zeros(1, 1, 3))


def test_option_is_a_file_or_a_number_of_training_rows() -> None:
    assert parse_head_classes("fit") == 50 and parse_head_classes("fit:80") == 80
    assert str(parse_head_classes("lists/k400.txt")) == "lists/k400.txt"
    for wrong in ("fit:", "fit:many", "fit:1", "fit:-20"):
        with pytest.raises(UsageError, match="at least fit:5"):
            parse_head_classes(wrong)


def test_saved_probe_keeps_the_order_of_its_head(tmp_path: Path) -> None:
    source = blobs(rows=30, classes=3, width=4, seed=0)
    probe = linear(epochs=1, batch_size=8, lr=(1e-3,))
    fitted = probe.fit(source, seed=0, device=CPU, progress=Silent())
    facts = {"training_rows": 30, "holdout_agreement": 0.5}
    order = HeadOrder(columns=np.array([2, 0, 1]), source="learned", facts=facts)
    reordered = Reordered(fitted=fitted, order=order)
    save_fitted(tmp_path, "linear", probe.settings, reordered, {})
    again = load_fitted(tmp_path).fitted
    expected = fitted.probabilities(source.x)[..., [2, 0, 1]]
    assert torch.equal(again.probabilities(source.x), expected)
    assert again.log == reordered.log and again.log["head_order"]["training_rows"] == 30


# ------------------------------------------------------------------------------------- learned
@pytest.mark.parametrize(("c", "accuracy"), [(5, 0.9), (60, 0.85), (174, 0.75)])
def test_order_is_learned_from_training_rows(c: int, accuracy: float) -> None:
    predicted, truth, columns = head_and_rows(c, 40, accuracy)
    order = learned_order(predicted, truth, [str(i) for i in range(c)])
    assert order.columns.tolist() == columns.tolist()
    right = float((predicted == columns[truth]).mean())
    assert order.facts == {"training_rows": 40 * c, "holdout_agreement": pytest.approx(right)}


def refusal(predicted: np.ndarray, truth: np.ndarray, c: int) -> str:
    with pytest.raises(UsageError, match="cannot be learned") as error:
        learned_order(predicted, truth, [f"class {i}" for i in range(c)])
    return str(error.value)


def test_class_without_training_rows_is_uncertain() -> None:
    predicted, truth, _ = head_and_rows(12, 30, 0.9)
    seen = truth != 7
    said = refusal(predicted[seen], truth[seen], 12)
    assert "from 330 training rows: 1 of 12 classes are uncertain ('class 7')" in said


def test_two_classes_that_could_be_exchanged_are_uncertain() -> None:
    truth = np.repeat(np.arange(6), 40)
    predicted = truth.copy()
    for label in (2, 4):  # 24 of 40 rows as one column, 16 as the other, in either half alike
        rows = np.flatnonzero(truth == label).reshape(20, 2)
        predicted[rows[:12]], predicted[rows[12:]] = label, 6 - label
        predicted[truth == label] = np.tile([label] * 3 + [6 - label] * 2, 8)
    assert "2 of 6 classes are uncertain ('class 2', 'class 4')" in refusal(predicted, truth, 6)


def test_handful_of_rows_and_guesses_are_not_enough() -> None:
    predicted, truth, _ = head_and_rows(12, 4, 0.95)
    assert "12 of 12 classes are uncertain" in refusal(predicted, truth, 12)
    rng = np.random.default_rng(0)
    said = refusal(rng.integers(0, 12, 600), np.repeat(np.arange(12), 50), 12)
    assert "% of the other (required: 40 %)" in said


def test_learned_order_is_never_wrong_for_heads_of_many_kinds() -> None:
    learned = 0
    for seed in range(60):
        c = (5, 20, 60)[seed % 3]
        accuracy, rows = 0.4 + 0.5 * (seed % 7) / 6, (6, 12, 20, 40)[seed % 4]
        predicted, truth, columns = head_and_rows(c, rows, accuracy, seed)
        try:
            order = learned_order(predicted, truth, [str(i) for i in range(c)])
        except UsageError:
            continue
        learned += 1
        assert order.columns.tolist() == columns.tolist()
    assert learned >= 10


# ----------------------------------------------- the point: names change nothing, ids are caught
def manifest(truth: np.ndarray, classes: Sequence[str] = CLASSES) -> Manifest:
    return Manifest(
        name="clips",
        split="val",
        kind="video",
        ids=[str(row) for row in range(len(truth))],
        media=["none"] * len(truth),
        labels=truth,
        classes=classes,
    )


def shuffled(source: MemorySource, order: np.ndarray) -> MemorySource:
    """The same rows with label i written as `order[i]`."""
    y = torch.from_numpy(order)[source.y]
    return MemorySource(source.x, y, source.num_classes)


def fit(source: MemorySource) -> Fitted:
    return knn(k=(1,)).fit(source, seed=0, device=CPU, progress=Silent())


def test_released_head_in_another_order_scores_the_same_by_names_and_by_training_rows() -> None:
    train = blobs(rows=360, classes=12, width=8, seed=1, spread=0.8)
    score = blobs(rows=240, classes=12, width=8, seed=2, spread=0.8)
    truth = score.labels
    plain = predict(fit(train), score, CPU, Silent())
    order = np.random.default_rng(5).permutation(12)
    head = fit(shuffled(train, order))  # its column order[i] tells class i

    raw = predict(head, score, CPU, Silent())
    with pytest.raises(DataError, match="labels look permuted"):
        check_labels(raw, truth, manifest(truth), keep=False)
    assert check_labels(raw, truth, manifest(truth), keep=True).alarm

    names = [CLASSES[i] for i in np.argsort(order)]
    named = Reordered(fitted=head, order=named_order(names, labels(CLASSES), source="list"))
    learned = learn_head_order(
        head,
        MemorySource(train.x, train.y, 12),
        manifest(train.labels),
        device=CPU,
        progress=Silent(),
    )
    for reordered in (named, Reordered(fitted=head, order=learned)):
        probabilities = predict(reordered, score, CPU, Silent())
        np.testing.assert_array_equal(probabilities, plain)
        assert not check_labels(probabilities, truth, manifest(truth), keep=False).alarm


@pytest.fixture
def lists(tmp_path: Path) -> Callable[..., Path]:
    """Write lists of names and of ids for the rows of two sources; media are never opened."""

    def write(name: str, words: list[str]) -> Path:
        path = tmp_path / f"{name}.txt"
        path.write_text("".join(f"{name}-{row}.mp4 {word}\n" for row, word in enumerate(words)))
        return path

    return write


def scored(train: Manifest, score: Manifest) -> tuple[float, bool]:
    """Fit and score features whose labels are those of two manifests; return (top-1, alarm)."""
    x_fit = blobs(rows=360, classes=12, width=8, seed=1, spread=0.8).x
    x_score = blobs(rows=240, classes=12, width=8, seed=2, spread=0.8).x
    head = fit(MemorySource(x_fit, torch.from_numpy(train.labels), 12))
    rows = MemorySource(x_score, torch.from_numpy(score.labels), 12)
    probabilities = predict(head, rows, CPU, Silent())
    found = check_labels(probabilities, score.labels, score, keep=True)
    return float((probabilities.argmax(axis=1) == score.labels).mean()), found.alarm


def test_shuffled_label_map_changes_nothing_with_names_and_is_caught_with_ids(
    lists: Callable[..., Path],
) -> None:
    fit_labels, score_labels = np.arange(360) % 12, np.arange(240) % 12
    order = np.random.default_rng(3).permutation(12)
    other = [CLASSES[i] for i in order]

    def read(name: str, words: list[str], classes: Sequence[str]) -> Manifest:
        path = lists(name, words)
        return read_list(path, root=None, name="clips", split=name, classes=classes)

    named = ([CLASSES[i] for i in fit_labels], [CLASSES[i] for i in score_labels])
    as_given = scored(read("train", named[0], CLASSES), read("val", named[1], CLASSES))
    assert as_given[0] > 0.8 and not as_given[1]
    # Names known: whatever the map, and be it another one in each list, rows mean the same class.
    assert scored(read("train", named[0], other), read("val", named[1], other)) == as_given
    # Ids only: the lists were numbered by two maps.
    place = np.argsort(order)
    accuracy, alarm = scored(
        read("train", fit_labels, CLASSES), read("val", place[score_labels], CLASSES)
    )
    assert alarm and accuracy < 0.3


def test_sentence_gives_both_numbers_examples_and_next_steps() -> None:
    truth = np.repeat(np.arange(4), 50)
    predicted = truth.copy()
    predicted[truth == 1], predicted[truth == 2] = 2, 1
    predicted[:5] = 3
    probabilities = np.eye(4, dtype=np.float32)[predicted]
    split = manifest(truth, ["hammering", "hammer throw", "jump rope", "jumping jack"])
    with pytest.raises(DataError) as error:
        check_labels(probabilities, truth, split, keep=False)
    assert str(error.value) == (
        "clips val: the labels look permuted. Predictions agree with 47.5 % (95 of 200) of the"
        " labels as given, and with 97.5 % (195 of 200) when 2 of 4 classes change places (in the"
        " rows of moved classes 0.0 % (0 of 100) as given, 100.0 % (100 of 100) relabelled);"
        " 'hammer throw' is predicted as 'jump rope' in 50 of 50 rows, as itself in 0;"
        " 'jump rope' is predicted as 'hammer throw' in 50 of 50 rows, as itself in 0."
        " Check the order of the classes: the label map (--set task.classes=FILE), or that of"
        " a released head (--head-classes FILE). To keep the labels, use --set"
        " on_permuted_labels=keep, which marks the record as suspect."
    )
