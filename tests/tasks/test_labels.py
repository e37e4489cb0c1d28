"""The shipped label maps: names, orders and digests, and that users' spellings find their class."""

import fnmatch
import hashlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from bench.errors import UsageError
from tasks.labels import SHIPPED, shipped

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "tasks" / "labels"

# Counts as published with each data set; digests pin the names and their order.
PINNED = {
    "coin": (180, "f0e88a6c7a222073b7cfe8681fc3c10281813100f67a30c84da8fbb17828fce3"),
    "diving48": (48, "7b00a489c98be1341296a979dd0089436227a8572ccfaa2785e6d4d902a2cac8"),
    "hmdb51": (51, "154ef596b60371212a4963ee5f33996f926eb53ca8e44fa2499c8267f9db561e"),
    "in1k": (1000, "385e0240499426c022b773be1ae4da780f057b89c9694c7f47199f62746b6edd"),
    "jester": (27, "19bba5ff66b23a4bf9c3cfd44cb434516070d7e588c45263e25a412ce7ff3850"),
    "k400": (400, "a8dafb93a1204d4ecfa904f943ce5ee0c62ddeeb1df71aa1f96983fca17d777e"),
    "k600": (600, "5d9a560f98fcfed08f6129dd498f97e043edf729efb3c02dd96b482d2970f9c0"),
    "k700": (700, "a34c9fed41f5f9ed56d95b7d0f60ce3af073064691da8dc75dcda06f394af1c9"),
    "places205": (205, "0174c2905306e6156ba9410a85a8d4de4e4159b513d43f13a95d1b66216354eb"),
    "places365": (365, "721337f8ad00bee56a46c5dfb94b7df4b32369e84d3e181205c0e0b8010de508"),
    "ssv2": (174, "a31a2ad624a558d609762c50f4d5d4778246d3ace6717cf24b993b0bf2d9a68b"),
    "ucf101": (101, "3ec3894f84996395754fb9c47fe6decb6a3a713ab4621a9ab090802e4f316525"),
}
# A line is an id and a name, with a star where the class is scored: no map from 0 on.
AVA = (80, "aa6a86a30de6285b65d03bf9993eebe6565206d80bab6ddca7223f7a8b1afd7e")
WORDS = (1000, "a40d9be82eb4738becd1dd69991b89f87f309975e860a6f3f45395d8c06a7e0d")

# Indices that others printed: a map from K400 to UCF101 (k400), predictions of released models
# (k600: MoViNet; ssv2 and diving48: V-JEPA 2), the README of COIN, torchvision's list of ImageNet.
KNOWN = {
    "coin": {13: "ChangeCarTire", 131: "ReplaceCDDriveWithSSD"},
    "diving48": {22: "Forward 25som 2Twis PIKE", 35: "Inward 35som NoTwis TUCK"},
    "hmdb51": {0: "brush_hair", 20: "kick", 21: "kick_ball", 50: "wave"},
    "in1k": {0: "n01440764", 134: "n02012849", 207: "n02099601", 999: "n15075141"},
    "jester": {0: "Swiping Left", 4: "Pushing Hand Away", 26: "Doing other things"},
    "k400": {5: "archery", 27: "blowing out candles", 148: "hammer throw", 378: "walking the dog"},
    "k600": {109: "cooking sausages (not on barbeque)", 437: "separating eggs", 599: "zumba"},
    "k700": {0: "abseiling", 13: "arresting", 699: "zumba"},
    "places205": {12: "a/auditorium", 13: "a/apartment_building/outdoor", 14: "b/badlands"},
    "places365": {0: "a/airfield", 1: "a/airplane_cabin", 8: "a/apartment_building/outdoor"},
    "ssv2": {112: "Putting something onto something", 145: "Stuffing something into something"},
    "ucf101": {34: "Hammering", 35: "HammerThrow", 46: "JumpingJack", 47: "JumpRope"},
}


# ------------------------------------------------------------------------------- names and orders
@pytest.mark.parametrize("name", SHIPPED)
def test_names_and_order_are_pinned(name: str) -> None:
    labels = shipped(name)
    assert (len(labels), labels.digest) == PINNED[name]
    assert len(set(labels.names)) == len(labels)
    assert all(text == text.strip() and text.isprintable() for text in labels.names)
    assert {index: labels.names[index] for index in KNOWN[name]} == KNOWN[name]
    assert labels.source == f"tasks/labels/{name}.txt"
    assert (ROOT / labels.source).is_file()


@pytest.mark.parametrize("name", ["diving48", "hmdb51", "in1k", "k400", "k600", "k700", "ssv2"])
def test_sorted_maps_are_sorted(name: str) -> None:
    names = list(shipped(name).names)
    assert names == sorted(names)


@pytest.mark.parametrize("name", ["k400", "k600", "k700"])
def test_sorting_kinetics_differently_gives_the_same_order(name: str) -> None:
    names = list(shipped(name).names)
    folders = [text.replace(" ", "_") for text in names]
    assert names == sorted(names, key=str.casefold)
    assert folders == sorted(folders)


@pytest.mark.parametrize("name", ["coin", "jester", "places205", "ucf101"])
def test_maps_that_are_not_sorted(name: str) -> None:
    names = list(shipped(name).names)
    assert names != sorted(names)


def test_only_two_pairs_of_ucf101_are_out_of_order() -> None:
    names = list(shipped("ucf101").names)
    moved = [i for i, (a, b) in enumerate(zip(names, sorted(names), strict=True)) if a != b]
    assert moved == [34, 35, 46, 47]
    assert names == sorted(names, key=str.casefold)


def test_editions_of_kinetics_overlap_as_published() -> None:
    k400, k600, k700 = (set(shipped(name).names) for name in ("k400", "k600", "k700"))
    # Names that the later editions merged or renamed must stay as K400 has them.
    for own, merged in {"picking fruit": "picking apples", "tying tie": "tying necktie"}.items():
        assert own in k400
        assert merged not in k400
        assert merged in k700
    assert k600 - k700 == {
        "bull fighting",
        "chopping vegetables",
        "passing american football (not in game)",
        "picking fruit",
    }


def test_scenes_of_places_begin_with_the_folder_of_their_letter() -> None:
    for name in ("places205", "places365"):
        assert all(re.fullmatch(r"(\w)/\1\w+(/\w+)?", scene) for scene in shipped(name).names)


def test_k400_is_the_list_of_torchvision() -> None:
    from torchvision.models.video import R3D_18_Weights

    assert list(shipped("k400").names) == R3D_18_Weights.KINETICS400_V1.meta["categories"]


def test_in1k_is_the_list_of_timm_with_its_words() -> None:
    from timm.data import ImageNetInfo

    listed = ImageNetInfo("imagenet-1k")
    labels = shipped("in1k")
    assert list(labels.names) == listed.label_names()
    words = [listed.label_name_to_description(wnid) for wnid in labels.names]
    assert _lines("in1k_words") == words
    assert [labels.index(text) for text in words if text != "crane"] == [
        index for index in range(1000) if words[index] != "crane"
    ]


# -------------------------------------------------------------------------------------- spellings
@pytest.mark.parametrize("name", SHIPPED)
def test_every_class_is_found_however_it_is_spelled(name: str) -> None:
    labels = shipped(name)
    for index, text in enumerate(labels.names):
        spellings = {
            text,
            f"{text} ",
            f'"{text}"',
            f"'{text}'",
            text.replace(" ", "_"),
            text.replace(" ", ""),
            f'"{text.replace(" ", "_")}"',
            text.replace("_", " "),
            re.sub(r"[()'/]", "-", text).replace(" ", "_"),
            text.lower(),
            text.upper(),
        }
        assert {labels.index(spelling) for spelling in spellings} == {index}


@pytest.mark.parametrize("name", SHIPPED)
def test_what_is_no_class_is_not_found(name: str) -> None:
    for text in ("", "no such class", "something", "0"):
        assert shipped(name).index(text) is None


def test_templates_of_ssv2_are_found_with_brackets() -> None:
    labels = shipped("ssv2")
    words = re.compile(r"some\w+|part\b|number of", re.IGNORECASE)
    templates = [words.sub(lambda word: f"[{word[0]}]", text) for text in labels.names]
    assert templates[117].startswith("Putting [something] that cannot actually stand upright up")
    assert sum(labels.names[i] != text for i, text in enumerate(templates)) > 170
    assert [labels.index(text) for text in templates] == list(range(174))
    assert labels.index("Taking [one of many similar things on the table]") == 146
    whole = "Putting [something that can't roll] onto a slanted surface, so it slides down"
    assert labels.index(whole) == 115


def test_other_spellings_met_with_users() -> None:
    for name, text, index in (
        ("k600", "passing American football (not in game)", 309),
        ("k400", "massaging_person-s_head", shipped("k400").index("massaging person's head")),
        ("ucf101", "HandStandPushups", 36),
        ("diving48", "Forward+25som+2Twis+PIKE", 22),
        ("diving48", "['Inward', '35som', 'NoTwis', 'TUCK']", 35),
        ("coin", "Replace CD Drive With SSD", 131),
        ("in1k", "tench, Tinca tinca", 0),
    ):
        assert shipped(name).index(text) == index, text


@pytest.mark.parametrize("name", ["places205", "places365"])
def test_scenes_are_found_in_the_spellings_of_all_copies(name: str) -> None:
    labels = shipped(name)
    for index, scene in enumerate(labels.names):
        short = scene[2:]
        flat = short.replace("/", "-")
        for text in (f"/{scene}", short, flat, short.replace("/", "_"), scene.replace("/", "_")):
            assert labels.index(text) == index, text


def test_words_of_two_classes_of_imagenet_name_neither() -> None:
    labels, words = shipped("in1k"), _lines("in1k_words")
    assert [i for i, text in enumerate(words) if text == "crane"] == [134, 517]
    assert labels.index("crane") is None
    assert len(labels.aliases) == 998
    assert (labels.index("maillot"), labels.index("maillot, tank suit")) == (638, 639)


# ------------------------------------------------------------------------------------ the package
def test_unknown_map_is_refused_with_the_closest_name() -> None:
    with pytest.raises(UsageError, match=r"label map 'k40'\. Did you mean 'k400'"):
        shipped("k40")
    with pytest.raises(UsageError, match=r"'in1k_words'\. Known: coin, .*, in1k, "):
        shipped("in1k_words")


def test_sources_tell_count_and_digest_of_every_file() -> None:
    rows = re.findall(r"^\| (\w+)\.txt \| (\d+) \| (\w{64}) \|$", _text("SOURCES.md"), re.MULTILINE)
    told = {name: (int(count), digest) for name, count, digest in rows}
    others = {"in1k_words": WORDS, "ava": AVA}
    assert told == PINNED | others
    for name, pinned in others.items():
        lines = _lines(name)
        assert (len(lines), hashlib.sha256("\n".join(lines).encode()).hexdigest()) == pinned
    assert {path.stem for path in FOLDER.glob("*.txt")} == set(told)
    assert set(SHIPPED) == set(PINNED)


def test_files_are_packed() -> None:
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert any(fnmatch.fnmatch("k400.txt", text) for text in patterns["package-data"]["*"])


def test_import_is_cheap_and_registers_nothing() -> None:
    code = (
        "import sys; from bench import registry; import tasks.labels as labels;"
        "assert not any(registry._ENTRIES.values());"
        "assert not {'torch', 'timm', 'pyarrow'} & set(sys.modules);"
        "assert labels.shipped.cache_info().currsize == 0"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def _text(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def _lines(name: str) -> list[str]:
    return _text(f"{name}.txt").removesuffix("\n").split("\n")
