"""A small AVA in its own file names: three films to fit on, two to score on."""

from pathlib import Path

TRAIN = """\
aaaaaaaaaaa,0902,0.1,0.1,0.5,0.5,12,0
aaaaaaaaaaa,0902,0.1,0.1,0.5,0.5,79,0
aaaaaaaaaaa,0902,0.6,0.1,0.9,0.5,2,1
bbbbbbbbbbb,0904,0.2,0.2,0.4,0.8,80,0
ccccccccccc,0903,0.2,0.2,0.4,0.8,11,0
bbbbbbbbbbb,0903,0.2,0.2,0.4,0.8,12,0
"""
VAL = """\
eeeeeeeeeee,0902,0.1,0.1,0.5,0.5,12,0
ddddddddddd,0902,0.1,0.1,0.5,0.5,12,0
ddddddddddd,0902,0.1,0.1,0.5,0.5,79,0
ddddddddddd,0903,0.1,0.1,0.5,0.5,17,0
ddddddddddd,0904,0.1,0.1,0.5,0.5,2,0
"""
# In order: two kept, a key frame without ground truth, then one for every rule that drops boxes.
FOUND = """\
ddddddddddd,0904,0.1,0.1,0.5,0.55,,0.8
ddddddddddd,0902,0.12,0.1,0.5,0.5,12,0.9
ddddddddddd,0905,0.3,0.1,0.5,0.5,-1,0.99
ddddddddddd,0902,0.5,0.5,0.6,0.6,,0.79
eeeeeeeeeee,0902,0.1,0.1,0.5,0.5,,0.95
ddddddddddd,0901,0.1,0.1,0.5,0.5,,0.95
aaaaaaaaaaa,0902,0.1,0.1,0.5,0.5,,0.95
ddddddddddd,0902,0.4,0.4,0.4,0.6,,0.95
"""
FIT_FOUND = """\
aaaaaaaaaaa,0902,0.1,0.1,0.5,0.5,14,0.95
aaaaaaaaaaa,0902,0.0,0.0,0.2,0.3,-1,0.92
aaaaaaaaaaa,0902,0.0,0.0,0.3,0.3,-1,0.5
"""
EXCLUDED = "eeeeeeeeeee,0902\n"
SECONDS = "0902\n0903\n0904\n0905\n"
FILES = {
    "ava_train_v2.2.csv": TRAIN,
    "ava_val_v2.2.csv": VAL,
    "ava_val_excluded_timestamps_v2.2.csv": EXCLUDED,
    "ava_train_excluded_timestamps_v2.2.csv": "ccccccccccc,0903\n",
    "ava_included_timestamps_v2.2.txt": SECONDS,
    "ava_val_predicted_boxes.csv": FOUND,
}
VIDEOS = [letter * 11 for letter in "abcde"]


def write_tree(root: Path, **changed: str | None) -> Path:
    """Write the lists and empty videos; a name with `_` for `.` and `/` changes or drops a list."""
    for name, content in FILES.items():
        kept = changed.get(name.replace(".", "_"), content)
        if kept is not None:
            touch(root / "annotations" / name, kept)
    for video in VIDEOS:
        touch(root / "videos" / f"{video}.mp4")
    return root


def touch(path: Path, content: str = "") -> Path:
    """Write a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path
