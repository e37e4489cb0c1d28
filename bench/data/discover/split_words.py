"""Which split a folder, an archive or a list belongs to, by the words in its name."""

from __future__ import annotations

import re
from collections.abc import Mapping

Words = Mapping[str, tuple[str, ...]]

DEEPEST = 4


def splits_named(name: str, words: Words) -> frozenset[str]:
    """Return the splits that a name refers to: `videos_train`, `train_256`, `val-00000.tar`.

    A word must not be next to a letter, so `training` is not `train`; a longer word wins over a
    part of it (`train_mini` over `train`). A name with words of different splits (`train_val`)
    refers to none.
    """
    text = name.casefold()
    meant: dict[str, set[str]] = {}
    for split, spellings in words.items():
        for word in spellings:
            if _holds(text, word.casefold()):
                meant.setdefault(word.casefold(), set()).add(split)
    longest = [
        splits
        for word, splits in meant.items()
        if not any(word != other and word in other for other in meant)
    ]
    return frozenset(set.intersection(*longest)) if longest else frozenset()


def split_folder(folder: str, words: Words) -> tuple[frozenset[str], int]:
    """Return the splits named by the first matching part of a folder's path, and its position.

    Parts below it are ignored because a class may be called `train_station`, as are parts deeper
    than four. If no part matches, the splits are empty.
    """
    for place, part in enumerate(folder.split("/")[:DEEPEST]):
        splits = splits_named(part, words)
        if splits:
            return splits, place
    return frozenset(), -1


def _holds(text: str, word: str) -> bool:
    # A number at the end of a word must end there too: `split1` is not in `split10`.
    before = r"(?<![^\W_])" if word[:1].isdigit() else r"(?<![^\W\d_])"
    after = r"(?![^\W_])" if word[-1:].isdigit() else r"(?![^\W\d_])"
    return re.search(before + re.escape(word) + after, text) is not None
