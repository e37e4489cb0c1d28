"""Samples come in order, with the frames of the plan, whoever decodes them."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bench.data.loader import samples
from bench.data.manifest import Manifest
from bench.data.views.clip_frames import frame_indices
from bench.data.views.pixel_recipe import Recipe
from bench.data.views.transforms import score_views
from bench.errors import UsageError
from bench.types import ClipPlan
from tests.features import small
from tests.features.small import make_manifest
from tests.media import paint, write_video

LENGTHS = (40, 9, 25)
PLAN = ClipPlan(num_frames=4, num_clips=3, num_views=1, stride=3)
RECIPE = replace(small.RECIPE, plan=PLAN, size=48)
AUGMENTED = replace(RECIPE, view="vjepa_paper", size=16)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    folder = tmp_path_factory.mktemp("videos")
    paths = [
        write_video(folder / f"{number}.mp4", length, size=(48, 48))
        for number, length in enumerate(LENGTHS)
    ]
    return make_manifest(paths)


def test_clips_show_the_frames_of_the_plan(manifest: Manifest) -> None:
    # With size 48 the short side becomes 54: scaled and cropped, the numbers stay readable.
    for sample in samples(manifest, np.arange(3), RECIPE):
        expected = frame_indices(PLAN, LENGTHS[sample.row])
        assert sample.pixels.shape == (1, 3, 4, 48, 48, 3) and sample.pixels.dtype == torch.uint8
        assert sample.num_frames == LENGTHS[sample.row] and sample.error is None
        unique = [len(set(clip)) for clip in expected.tolist()]
        assert sample.repeated == expected.size - sum(unique)
        views = score_views(
            np.stack([painted(number) for number in range(LENGTHS[sample.row])]),
            size=48,
            num_views=1,
            kind="video",
        )[0]
        shown = sample.pixels[0].numpy().astype(int)
        distance = np.abs(shown[..., None, :, :, :] - views.astype(int)).mean((-1, -2, -3))
        assert (distance.argmin(-1) == expected).all()


def painted(number: int) -> np.ndarray:
    return paint(number, (48, 48))


@pytest.mark.parametrize("recipe", [RECIPE, AUGMENTED], ids=["score", "augmented"])
def test_workers_and_batch_size_change_nothing_and_order_is_kept(
    manifest: Manifest, recipe: Recipe
) -> None:
    rows, draw = np.array([2, 0, 1, 0, 2]), np.array([0, 1, 0, 0, 0])
    expected = list(samples(manifest, rows, recipe, draw=draw))
    assert [(s.row, s.draw) for s in expected] == list(zip(rows, draw, strict=True))
    for workers, batch_size in ((2, 1), (1, 64)):
        found = list(
            samples(manifest, rows, recipe, draw=draw, workers=workers, batch_size=batch_size)
        )
        assert [s.row for s in found] == rows.tolist()
        for one, other in zip(found, expected, strict=True):
            assert torch.equal(one.pixels, other.pixels)


@pytest.mark.parametrize("recipe", [replace(RECIPE, plan=replace(PLAN, num_views=3)), AUGMENTED])
def test_a_copied_clip_is_the_one_in_the_pixels(manifest: Manifest, recipe: Recipe) -> None:
    [sample] = samples(manifest, np.array([0]), recipe)
    clips = sample.pixels.flatten(0, 1)
    assert len(clips) == recipe.clips_per_row
    for number, clip in enumerate(clips):
        out = torch.full_like(clip, 7)
        sample.copy_clip(number, out)
        assert torch.equal(out, clip)


def test_augmented_pixels_follow_seed_draw_and_root_row(manifest: Manifest) -> None:
    def first(recipe: Recipe, draw: int, source: Manifest = manifest, row: int = 0) -> torch.Tensor:
        [sample] = samples(source, np.array([row]), recipe, draw=draw)
        assert sample.pixels.shape == (1, 3, 3, 4, 16, 16)
        assert sample.pixels.dtype == torch.float32
        return sample.pixels

    assert torch.equal(first(AUGMENTED, 1), first(AUGMENTED, 1))
    assert not torch.equal(first(AUGMENTED, 0), first(AUGMENTED, 1))
    assert not torch.equal(first(AUGMENTED, 0), first(replace(AUGMENTED, seed=1), 0))
    subset = manifest.subset(np.array([2, 0]))
    assert torch.equal(first(AUGMENTED, 0, subset, 1), first(AUGMENTED, 0))


def test_an_unreadable_file_is_a_sample_with_a_reason(manifest: Manifest, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"nothing")
    mixed = make_manifest([manifest.media[0], broken, tmp_path / "gone.mp4"])
    for workers in (0, 1):
        good, bad, gone = samples(mixed, np.arange(3), RECIPE, workers=workers)
        assert good.error is None
        assert bad.pixels is None and "broken.mp4" in bad.error
        assert gone.pixels is None and "gone.mp4" in gone.error
        assert str(tmp_path) not in bad.error + gone.error
        assert (good.missing, bad.missing, gone.missing) == (False, False, True)


def test_a_still_is_repeated_over_the_frames(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (60, 50, 3), dtype=np.uint8)
    Image.fromarray(picture).save(tmp_path / "one.png")
    (tmp_path / "bad.png").write_bytes(b"no image")
    images = make_manifest([tmp_path / "one.png", tmp_path / "bad.png"], "image")
    plan = replace(PLAN, num_clips=1, stride=0)
    good, bad = samples(images, np.arange(2), replace(RECIPE, plan=plan, kind="image"))
    view = score_views(picture[None], size=48, num_views=1, kind="image")
    assert (good.pixels[0, 0].numpy() == view[0]).all() and good.pixels.shape[2] == 4
    assert good.repeated == 0 and good.decoder == "pillow"
    assert "bad.png" in bad.error
    recipe = replace(AUGMENTED, plan=plan, kind="image", view="vjepa_image")
    [augmented] = samples(images, np.array([0]), recipe)
    assert augmented.pixels.shape == (1, 1, 3, 4, 16, 16)
    assert torch.equal(augmented.pixels[..., 0, :, :], augmented.pixels[..., 3, :, :])
    out = torch.empty(3, 4, 16, 16)
    augmented.copy_clip(0, out)
    assert torch.equal(out, augmented.pixels[0, 0])


@pytest.mark.parametrize("workers", [0, 1])
def test_a_wrong_recipe_is_one_sentence_from_any_process(manifest: Manifest, workers: int) -> None:
    wrong = replace(RECIPE, plan=replace(PLAN, sampler="nonsense"))
    with pytest.raises(UsageError) as caught:
        list(samples(manifest, np.arange(1), wrong, workers=workers))
    assert "nonsense" in str(caught.value) and "Traceback" not in str(caught.value)


# A decoder with faults of its own: a film whose name asks for it makes the process do it.
FAULTS = """
import av, os, time
opened = av.open
def faulty(file, *arguments, **settings):
    name = os.path.basename(str(getattr(file, "name", file)))
    if "crash" in name:
        os.abort()
    while "hang" in name:
        time.sleep(1)
    if "hungry" in name:
        held = [bytes(1 << 28) for _ in range(100)]
    return opened(file, *arguments, **settings)
av.open = faulty
"""


@pytest.mark.parametrize("workers", [0, 2])
def test_a_decoder_that_crashes_hangs_or_eats_memory_costs_the_file(
    tmp_path: Path, workers: int
) -> None:
    (tmp_path / "sitecustomize.py").write_text(FAULTS)
    names = ["a", "crash", "b", "hungry", "c", "hang", "d", "e"]
    for name in names:
        write_video(tmp_path / f"{name}.mp4", 12, size=(48, 48))
    code = f"""
from pathlib import Path
import numpy as np
from bench.data.decode import children
from bench.data.loader import samples
from tests.data.test_loader import RECIPE
from tests.features.small import make_manifest
children.DEADLINE_SECONDS, children.MEMORY_BYTES = 5.0, 1 << 30
paths = [Path({str(tmp_path)!r}) / f"{{name}}.mp4" for name in {names}]
for sample in samples(make_manifest(paths), np.arange(8), RECIPE, workers={workers}):
    print(sample.row, sample.error or sample.num_frames)
"""
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{Path.cwd()}"}
    ran = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert re.sub("; fetch .* again[.]", "", ran.stdout).splitlines() == [
        "0 12",
        "1 crash.mp4 cannot be decoded: the decoder crashed (SIGABRT)",
        "2 12",
        "3 hungry.mp4 cannot be decoded: decoding it takes more than 1 GiB of memory",
        "4 12",
        "5 hang.mp4 cannot be decoded: no answer from the decoder within 5 s",
        "6 12",
        "7 12",
    ]
