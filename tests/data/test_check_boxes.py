"""A check of boxes looks at every video once, and names the rows that it costs."""

from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import pytest

from bench.data.boxes.check_boxes import check_boxes, look_at_key_frames
from bench.data.check import CheckReport
from bench.data.decode.children import DecodingChildren
from bench.data.manifest import Manifest
from bench.data.media.checked_before import remembered_looks
from bench.errors import MissingMedia, UnreadableMedia
from bench.preflight.check_task import check_planned, look_only
from bench.types import Silent
from tests.data.test_key_frames import FPS, PLAN, every_second, manifest_of
from tests.media import write_video

PLACE = {"plan": PLAN, "start": None, "frame_rate": 30.0}


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """Four films: sound, ten seconds short, not there, damaged from second 903.1 to 904."""
    folder = tmp_path_factory.mktemp("films")
    options = {"x264-params": "scenecut=0:keyint=10:min-keyint=10:bframes=0"}
    films = [
        write_video(folder / "sound.mp4", 100, fps=FPS),
        write_video(folder / "short.mp4", 40, fps=FPS),
        folder / "gone.mp4",
        write_video(folder / "damaged.mp4", 100, fps=FPS, gop=10, options=options),
    ]
    import av

    with av.open(str(films[3])) as media:
        hit = [p for p in media.demux(video=0) if p.size][31]
        place, size = hit.pos, hit.size
    data = bytearray(films[3].read_bytes())
    data[place + 4 : place + size] = b"\xff" * (size - 4)
    films[3].write_bytes(bytes(data))
    boxes = [row for video in range(4) for row in every_second(video, range(900, 910))]
    made = manifest_of(films, boxes, facts={"threshold": 0.8, "below the threshold": 12345})
    labels = made.labels.copy()
    labels[:50, 1] = 1
    labels[:7, 2] = 1
    return replace(made, labels=labels)


def look(media: Path, micros: np.ndarray) -> dict[int, str]:
    return look_at_key_frames(media, micros, **PLACE)[0]


def ids(manifest: Manifest, video: int, seconds: range | tuple[int, int]) -> list[str]:
    places = zip(manifest.regions.video, manifest.regions.micros // 10**6, strict=True)
    return [
        manifest.ids[row] for row, (v, s) in enumerate(places) if v == video and s - 900 in seconds
    ]


def test_rows_beyond_the_end_and_of_missing_videos_are_named(manifest: Manifest) -> None:
    looked = Counter()

    def counted(media: Path, micros: np.ndarray) -> dict[int, str]:
        looked[media.name] += 1
        return look(media, micros)

    report = check_boxes(manifest, workers=2, progress=Silent(), look=counted)
    assert looked == {"sound.mp4": 1, "short.mp4": 1, "damaged.mp4": 1}
    assert (report.listed, report.videos, report.key_frames) == (80, 4, 40)
    assert list(report.missing) == ids(manifest, 2, range(10))
    assert report.missing_videos == ("v2",) and report.present == 60
    # Of the damaged film the first, the sixth and the last key frame are decoded: they are sound.
    assert [name for name, _ in report.unreadable] == ids(manifest, 1, range(4, 10))
    assert "short.mp4: the key frame at second 904 is after the file" in report.unreadable[0][1]
    assert report.duplicates == () and report.problems == 20 + 12
    assert report.without_labels == 30
    assert report.smallest_class == ("stand", 0) and report.largest_class == ("sit", 50)
    table = dict(report.as_table_rows())
    assert table["boxes"] == "80, 30 without labels" and table["key frames"] == "40"
    assert table["missing videos"] == "1: v2"
    assert table["unreadable"].startswith("12 rows, reasons: 6: 2 rows (short.mp4: the key frame")
    assert table["unreadable"].endswith(", and 1 more")
    assert table["boxes: threshold"] == "0.8" and table["boxes: below the threshold"] == "12,345"
    bare = replace(report, without_labels=80, facts={"detector": {"format": "CSV", "rows": 9000}})
    assert dict(bare.as_table_rows())["classes"] == "3; boxes from a detector have no labels"
    assert dict(bare.as_table_rows())["boxes: detector"] == "format CSV, rows 9,000"
    assert report.as_dict()["facts"] == {"threshold": 0.8, "below the threshold": 12345}


def test_every_key_frame_is_decoded_before_features_are_computed_live(manifest: Manifest) -> None:
    seen, lock = [], Lock()

    def note(medium: Path, decoder: str, repeated: int) -> None:
        with lock:
            seen.append((medium.stem, decoder, repeated))

    report = check_planned(manifest, PLAN, workers=2, progress=Silent(), on_decoded=note)
    found = [name for name, _ in report.unreadable]
    assert found == ids(manifest, 1, range(4, 10)) + ids(manifest, 3, (3, 4))
    # Only clips around second 900 reach over an end, with frames -6 -3 0 3: those of the last key
    # frames, 84 to 93 of 100 and 24 to 33 of 40, lie inside.
    assert sorted(seen) == [("damaged", "pyav", 2), ("short", "pyav", 2), ("sound", "pyav", 2)]


def test_key_frames_of_one_video_by_hand(manifest: Manifest) -> None:
    _, short, gone, damaged = manifest.regions.media
    micros = np.array([899, 900, 903, 904, 920]) * 10**6
    reasons, decoder, repeated = look_at_key_frames(damaged, micros, every=True, **PLACE)
    assert list(reasons) == [899_000_000, 903_000_000, 904_000_000, 920_000_000]
    assert "is before" in reasons[899_000_000] and "is after" in reasons[920_000_000]
    assert reasons[903_000_000].startswith("damaged.mp4 cannot be decoded: frame 3")
    assert decoder == "pyav" and repeated == 2  # frame 0 three times around second 900
    reasons, decoder, repeated = look_at_key_frames(short, np.array([950 * 10**6]), **PLACE)
    assert len(reasons) == 1 and (decoder, repeated) == ("", 0)
    with pytest.raises(MissingMedia):
        look_at_key_frames(gone, micros, **PLACE)


def test_what_was_looked_at_is_remembered_for_the_same_key_frames(
    manifest: Manifest, tmp_path: Path
) -> None:
    def check(rows: np.ndarray, places: tuple[Any, ...] = ()) -> CheckReport:
        with remembered_looks(tmp_path / "looks.sqlite", "plan") as looks:
            return check_boxes(
                manifest.subset(rows), workers=1, progress=Silent(), look=look, looks=looks
            )

    first, again = check(np.arange(80)), check(np.arange(80))
    assert (first.remembered, again.remembered) == (0, 3)  # what is not there may come
    assert again.unreadable == first.unreadable and again.missing == first.missing
    fewer = check(np.arange(1, 80, 2))  # other boxes on the same key frames
    assert fewer.remembered == 3
    assert [name for name, _ in fewer.unreadable] == [name for name, _ in first.unreadable][1::2]
    assert check(np.arange(20, 36)).remembered == 0  # other key frames


def test_children_tell_which_key_frames_are_bad(manifest: Manifest) -> None:
    with DecodingChildren(look_only, workers=1) as pool:

        def ask(media: Path, micros: np.ndarray) -> Any:
            return pool.decode(media, micros=micros, **PLACE)

        report = check_boxes(manifest, workers=1, progress=Silent(), look=ask)
        expected = check_boxes(manifest, workers=1, progress=Silent(), look=look)
        assert report == expected
        with pytest.raises(UnreadableMedia, match="there is no such file"):
            ask(manifest.regions.media[2], np.array([900 * 10**6]))


def test_two_videos_in_one_file_and_rows_of_one_name_are_duplicates(
    manifest: Manifest, tmp_path: Path
) -> None:
    link = tmp_path / "link.mp4"
    link.symlink_to(manifest.regions.media[0])
    boxes = every_second(0, [900, 901]) + every_second(1, [900])
    twice = manifest_of([manifest.regions.media[0], link], boxes)
    twice = replace(twice, ids=[*twice.ids[:-1], twice.ids[0]])
    report = check_boxes(twice, workers=1, progress=Silent(), look=partial(look))
    assert report.duplicates == ((twice.ids[0], twice.ids[0]), ("v1", "v0"))
