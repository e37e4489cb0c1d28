"""Something-Something v2: both naming schemes, templates, answers, lists of frames."""

import json
from pathlib import Path

import pytest

from bench.data.discover.find_split import read_split
from bench.data.discover.label_map import LabelMap
from bench.data.media.media import FrameFolder
from bench.errors import DataError
from tasks.ssv2 import SSV2, read, ssv2
from tests.tasks.video_trees import FORMATS, copy, look, plant, write

BRACKETS = "Putting [something that can't roll] onto a slanted surface, so it slides down"
NAMES = (
    "Approaching something with your camera",
    "Putting something that can't roll onto a slanted surface, so it slides down",
    "Pretending to be tearing something that is not tearable",
)
THREE = LabelMap(names=NAMES, source="golden")
SCHEMES = {
    "20bn_naming": "something-something-v2-{}.json",
    "qualcomm_naming/labels": "{}.json",
}


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(
    ("split", "ids", "labels"),
    [("train", ["900001", "37"], [0, 1]), ("validation", ["900002"], [2])],
)
def test_golden_lists_give_the_template_as_class(
    tmp_path: Path, scheme: str, split: str, ids: list[str], labels: list[int]
) -> None:
    folder = copy(f"ssv2/{scheme}", tmp_path)
    listed = read(folder / SCHEMES[scheme].format(split), split, look(tmp_path), THREE)
    assert (list(listed.names), listed.labels.tolist()) == (ids, labels)
    assert listed.layout == ("20BN json" if "20bn" in scheme else "Qualcomm json")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_patterns_find_the_lists_of_both_schemes(tmp_path: Path, scheme: str) -> None:
    folder = copy(f"ssv2/{scheme}", tmp_path)
    for split in ("train", "validation"):
        found = look(tmp_path).find(*SSV2.patterns[split])
        assert found == [folder / SCHEMES[scheme].format(split)]


def test_golden_answers_are_cut_at_the_first_semicolon(tmp_path: Path) -> None:
    folder = copy("ssv2/qualcomm_naming/labels", tmp_path)
    tree = look(tmp_path)
    (answers,) = tree.find(*SSV2.patterns["test"])
    listed = read(answers, "test", tree, THREE)
    assert (list(listed.names), listed.labels.tolist()) == (["900003", "900004"], [0, 1])
    with pytest.raises(DataError, match=r"test\.json lists 2 videos without.*test-answers\.csv"):
        read(folder / "test.json", "test", tree, THREE)


def test_semicolon_in_a_template_belongs_to_it(tmp_path: Path) -> None:
    odd = LabelMap(names=["a; b", "a"], source="test")
    path = write(tmp_path / "test-answers.csv", "7;a; b\r\n8;a\r\n")
    assert read(path, "test", look(tmp_path), odd).labels.tolist() == [0, 1]


def test_caption_of_a_video_is_not_its_class(tmp_path: Path) -> None:
    item = {"id": 5, "label": NAMES[0], "template": BRACKETS, "placeholders": ["x"]}
    path = write(tmp_path / "train.json", json.dumps([item]))
    listed = read(path, "train", look(tmp_path), THREE)
    assert (list(listed.names), listed.labels.tolist()) == (["5"], [1])


def test_unknown_template_and_broken_items_are_named(tmp_path: Path) -> None:
    unknown = [{"id": "1", "template": "Approaching [something] with a camera"}]
    path = write(tmp_path / "train.json", json.dumps(unknown))
    with pytest.raises(DataError, match=r"is none of the 3 classes.*Did you mean 'Approaching"):
        read(path, "train", look(tmp_path), THREE)
    write(path, json.dumps([{"id": "1", "template": NAMES[0]}, {"id": "2"}]))
    with pytest.raises(DataError, match="item 2: expected"):
        read(path, "train", look(tmp_path), THREE)
    write(path, '[{"id": "1", "templ')
    with pytest.raises(DataError, match=r"train\.json is not JSON"):
        read(path, "train", look(tmp_path), THREE)


def test_lists_of_other_codes_are_left_to_the_general_reader(tmp_path: Path) -> None:
    tree = look(tmp_path)
    for name in ("videomae_style/train.csv", "mmaction2/sthv2_train_list_videos.txt"):
        assert read(FORMATS / "ssv2" / name, "train", tree, THREE) is None
    assert read(write(tmp_path / "train.json", "{}"), "train", tree, THREE) is None


def test_list_of_frames_says_where_the_labels_come_from(tmp_path: Path) -> None:
    frames = copy("ssv2/slowfast_frame_lists", tmp_path) / "train.csv"
    with pytest.raises(DataError, match=r"frames only.*put something-something-v2-train\.json"):
        read(frames, "train", look(tmp_path), THREE)
    copy("ssv2/20bn_naming", tmp_path)
    with pytest.raises(DataError, match=r"omit this list to read .*v2-train\.json"):
        read(frames, "train", look(tmp_path), THREE)


# ------------------------------------------------------------------------------- the real classes
def test_shipped_order_is_alphabetical_and_takes_real_templates(tmp_path: Path) -> None:
    labels = SSV2.labels
    assert len(labels) == 174
    assert list(labels.names) == sorted(labels.names)
    templates = [
        BRACKETS,
        "Pretending to put [something] behind [something]",
        "Holding [something]",
    ]
    items = [{"id": str(i), "template": text} for i, text in enumerate(templates)]
    path = write(tmp_path / "train.json", json.dumps(items))
    made = read(path, "train", look(tmp_path), labels).labels.tolist()
    plain = [text.replace("[", "").replace("]", "") for text in templates]
    assert [labels.names[i] for i in made] == plain


def test_own_label_map_must_agree_with_the_shipped_one(tmp_path: Path) -> None:
    items = json.dumps([{"id": "1", "template": "Holding [something]"}])
    path = write(tmp_path / "labels" / "train.json", items)
    right = {name: str(index) for index, name in enumerate(SSV2.labels.names)}
    own = write(tmp_path / "labels" / "labels.json", json.dumps(right))
    listed = read(path, "train", look(tmp_path), SSV2.labels)
    assert listed.labels.tolist() == [SSV2.labels.index("Holding something")]
    wrong = dict(zip(right, reversed(right.values()), strict=True))
    write(own, json.dumps(wrong))
    with pytest.raises(DataError, match=r"labels\.json gives.*index 173.*task\.classes="):
        read(path, "train", look(tmp_path), SSV2.labels)
    reverse = LabelMap(names=list(reversed(SSV2.labels.names)), source=str(own))
    assert read(path, "train", look(tmp_path), reverse).labels.tolist() == [
        173 - SSV2.labels.index("Holding something")
    ]
    write(own, '{"Holding something": "first"}')
    with pytest.raises(DataError, match="should give every class an index"):
        read(path, "train", look(tmp_path), SSV2.labels)


# ------------------------------------------------------------------------- from folder to manifest
def test_every_golden_tree_gives_the_same_manifest(tmp_path: Path) -> None:
    ids = ("900001", "37")
    videos = [f"20bn-something-something-v2/{sample}.webm" for sample in ids]
    frames = [f"frames/{sample}/{sample}_00000{n}.jpg" for sample in ids for n in (1, 2)]
    converted = [f"mp4/{sample}.mp4" for sample in ids]
    trees = {
        "20bn_naming": videos,
        "qualcomm_naming/labels": frames,
        "videomae_style": converted,
        "mmaction2": converted,
    }
    classes = FORMATS / "ssv2/qualcomm_naming/labels/labels.json"
    digests = set()
    for golden, media in trees.items():
        root = plant(tmp_path / golden.replace("/", "-"), *media)
        copy(f"ssv2/{golden}", root)
        manifest = read_split(SSV2, root, "train", classes=classes)
        assert [manifest.classes[label] for label in manifest.labels] == [NAMES[1], NAMES[0]]
        assert list(manifest.ids) == ["37", "900001"]
        digests.add(manifest.digest)
    assert len(digests) == 1


def test_videos_beside_their_conversions_need_a_folder(tmp_path: Path) -> None:
    names = (FORMATS / "ssv2/videos_listing.txt").read_text().split()
    root = plant(tmp_path, *names)
    copy("ssv2/20bn_naming", root)
    classes = root / "20bn_naming" / "something-something-v2-labels.json"
    with pytest.raises(DataError, match=r"two files match the sample '900001'.*task\.media=FOLDER"):
        read_split(SSV2, root, "train", classes=classes)
    folder = Path("20bn-something-something-v2")
    manifest = read_split(SSV2, root, "train", classes=classes, media=folder)
    assert [path.name for path in manifest.media] == ["37.webm", "900001.webm"]


def test_frames_of_slowfast_are_read_with_the_labels_of_the_json(tmp_path: Path) -> None:
    root = plant(tmp_path, "900001/900001_000001.jpg", "900001/900001_000002.jpg")
    copy("ssv2/slowfast_frame_lists", root)
    classes = FORMATS / "ssv2/20bn_naming/something-something-v2-labels.json"
    with pytest.raises(DataError, match="lists frames only"):
        read_split(SSV2, root, "train", classes=classes)
    copy("ssv2/20bn_naming", root)
    manifest = read_split(SSV2, root, "train", classes=classes)
    assert isinstance(manifest.media[1], FrameFolder)
    assert not manifest.media[0].exists()  # 37 is listed and not there: missing, not left out


def test_own_label_map_is_used_when_it_is_asked_for(tmp_path: Path) -> None:
    root = plant(tmp_path, "v/900001.webm", "v/37.webm", "v/900002.webm")
    copy("ssv2/qualcomm_naming/labels", root)
    with pytest.raises(DataError, match=r"labels\.json gives .*task\.classes=.*labels\.json"):
        ssv2(data=root)
    task = ssv2(data=root, classes=root / "labels" / "labels.json")
    assert (list(task.classes), task.score.labels.tolist()) == (list(NAMES), [2])
