"""The evaluators of AVA and the rules in which they differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Rules:
    """The rules of one evaluator; the defaults are those of the official program."""

    name: str = "official"
    best_of_frame: int | None = 50
    match_by_score: bool = True  # else in the order of the file
    truth_by_person: bool = True  # else in the order of the file
    any_row_annotates: bool = True  # else only boxes of evaluated classes annotate their frame
    unannotated_are_wrong: bool = False  # else ignored
    excluded_truth_counts: bool = False  # as boxes that cannot be found; else removed
    silent_classes_count: bool = True  # with an AP of 0; else left out of the mean
    dtype: type[np.floating] = np.float64
    stops_at_inverted: bool = False  # and keeps boxes without area; else both are dropped


OFFICIAL = Rules()

# facebookresearch/SlowFast, ava_eval_helper.py: reported by most papers.
SLOWFAST = Rules(
    name="slowfast",
    best_of_frame=None,
    match_by_score=False,
    truth_by_person=False,
    any_row_annotates=False,
    unannotated_are_wrong=True,
)

# open-mmlab/mmaction2, ava_utils.py.
MMACTION2 = Rules(
    name="mmaction2",
    best_of_frame=None,
    any_row_annotates=False,
    excluded_truth_counts=True,
    silent_classes_count=False,
    dtype=np.float32,
    stops_at_inverted=True,
)

RULES: Mapping[str, Rules] = {rules.name: rules for rules in (OFFICIAL, SLOWFAST, MMACTION2)}
