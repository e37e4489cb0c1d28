"""Every fact that changes a number changes the name of a feature set; nothing else does."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.data.manifest import Manifest
from bench.data.views import pixel_recipe as recipe_module
from bench.encoders.encoder import Encoder
from bench.encoders.floors import PixelMean
from bench.encoders.hiera import HieraTokens
from bench.encoders.networks.adapt import FrameByFrame, class_name
from bench.encoders.networks.image_vit import ImageViT
from bench.encoders.networks.rotary_vit import RotaryViT
from bench.encoders.networks.table_vit import TableViT
from bench.encoders.networks.video_vit import VideoViT
from bench.encoders.vicmae import ClassTokenViT
from bench.features.key import canonical, digest, encoder_facts
from bench.types import Reads, Silent
from tests.features.small import (
    AUGMENTED,
    PLAN,
    RECIPE,
    extraction_of,
    make_manifest,
    make_videos,
    run,
    tiny_encoder,
)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return make_videos(tmp_path_factory.mktemp("videos"), 3)


@pytest.fixture
def name(videos: list[Path], tmp_path: Path) -> Callable[..., str]:
    def digest_of(
        *, encoder: Any = None, manifest: Manifest = None, reads: Reads = "vector", **how: Any
    ) -> Any:
        own = {"readouts": [reads], "draws": None, **how}
        extraction = extraction_of(
            encoder or tiny_encoder(), manifest or make_manifest(videos), **own
        )
        return extraction.feature_sets(tmp_path, Silent())[reads].digest

    return digest_of


def one_bit_changed() -> Encoder:
    encoder = tiny_encoder()
    weight = encoder.network.norm.weight
    weight.data.view(torch.int32)[3] ^= 1
    return encoder


def other_heads() -> Encoder:
    encoder = tiny_encoder()
    encoder.spec = replace(encoder.spec, num_heads=4)
    return encoder


CHANGES = {
    "one weight bit": lambda: {"encoder": one_bit_changed()},
    "attention heads": lambda: {"encoder": other_heads()},
    "layer": lambda: {"layers": (0,)},
    "readout": lambda: {"reads": "tokens"},
    "dtype": lambda: {"dtype": "float32"},
    "precision": lambda: {"precision": "bf16"},
    "plan stride": lambda: {"recipe": replace(RECIPE, plan=replace(PLAN, stride=1))},
    "number of clips": lambda: {"recipe": replace(RECIPE, plan=replace(PLAN, num_clips=3))},
    "number of views": lambda: {"recipe": replace(RECIPE, plan=replace(PLAN, num_views=3))},
    "number of frames": lambda: {"recipe": replace(RECIPE, plan=replace(PLAN, num_frames=2))},
    "sampler": lambda: {"recipe": replace(RECIPE, plan=replace(PLAN, sampler="vjepa"))},
    "size": lambda: {"recipe": replace(RECIPE, size=24)},
    "mean": lambda: {"recipe": replace(RECIPE, mean=(0.5, 0.5, 0.25))},
    "std": lambda: {"recipe": replace(RECIPE, std=(0.5, 0.25, 0.25))},
    "decoder": lambda: {"recipe": replace(RECIPE, decoder="decord")},
    "augmentation": lambda: {"recipe": AUGMENTED},
}
CHANGES_OF_AN_AUGMENTATION = {
    "another augmentation": {"recipe": replace(AUGMENTED, view="vjepa_released")},
    "flip": {"recipe": replace(AUGMENTED, flip=False)},
    "augmentation seed": {"recipe": replace(AUGMENTED, seed=4)},
    "draws": {"draws": 2},
}


@pytest.mark.parametrize("change", CHANGES)
def test_one_change_that_can_change_a_feature_misses(name: Callable[..., str], change: str) -> None:
    assert name(**CHANGES[change]()) != name()


@pytest.mark.parametrize("change", CHANGES_OF_AN_AUGMENTATION)
def test_one_change_of_an_augmentation_misses(name: Callable[..., str], change: str) -> None:
    assert name(**{"recipe": AUGMENTED, **CHANGES_OF_AN_AUGMENTATION[change]}) != name(
        recipe=AUGMENTED
    )


def test_all_changes_give_names_of_their_own(name: Callable[..., str]) -> None:
    names = [name(), *(name(**change()) for change in CHANGES.values())]
    assert len(set(names)) == len(names)


def test_one_changed_media_byte_misses(name: Callable[..., str], tmp_path: Path) -> None:
    paths = make_videos(tmp_path / "copy", 2)
    before = name(manifest=make_manifest(paths))
    content = bytearray(paths[1].read_bytes())
    content[-1] ^= 1
    paths[1].write_bytes(content)
    assert name(manifest=make_manifest(paths)) != before


def test_another_order_of_files_misses(name: Callable[..., str], videos: list[Path]) -> None:
    assert name(manifest=make_manifest(videos[::-1])) != name()


def test_another_decoder_build_misses(
    name: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = name()
    monkeypatch.setattr(recipe_module, "decoder_versions", lambda decoder: {"pyav": "0.0"})
    assert name() != before


def test_folder_name_and_time_stamps_do_not_matter(
    name: Callable[..., str], tmp_path: Path
) -> None:
    paths = make_videos(tmp_path / "first", 2)
    before = name(manifest=make_manifest(paths))
    (tmp_path / "first").rename(tmp_path / "second")
    moved = [tmp_path / "second" / path.name for path in paths]
    os.utime(moved[0], (1, 1))
    assert name(manifest=make_manifest(moved)) == before


def test_labels_ids_and_the_name_of_the_task_do_not_matter(
    name: Callable[..., str], videos: list[Path]
) -> None:
    other = replace(
        make_manifest(videos),
        name="other",
        split="test",
        ids=["x", "y", "z"],
        labels=np.zeros(3, dtype=np.int64),
        classes=["only"],
    )
    assert name(manifest=other) == name()


def test_the_name_of_the_encoder_does_not_matter(name: Callable[..., str]) -> None:
    renamed = tiny_encoder()
    renamed.spec = replace(renamed.spec, name="other", source="elsewhere")
    assert name(encoder=renamed) == name()


def test_what_the_score_view_does_not_use_does_not_matter(name: Callable[..., str]) -> None:
    assert name(recipe=replace(RECIPE, seed=9, flip=True)) == name()
    assert name(draws=0) == name(draws=1)


def test_views_of_the_plan_do_not_matter_to_an_augmentation(name: Callable[..., str]) -> None:
    assert name(recipe=replace(AUGMENTED, plan=PLAN)) == name(recipe=AUGMENTED)


def test_a_subset_has_the_name_of_its_parent(name: Callable[..., str], videos: list[Path]) -> None:
    whole = make_manifest(videos)
    assert name(manifest=whole.subset(np.array([2, 0]))) == name(manifest=whole)


def test_facts_of_whole_clips_know_nothing_of_boxes(videos: list[Path], tmp_path: Path) -> None:
    sets, _ = run(tiny_encoder(), make_manifest(videos), tmp_path)
    assert set(sets["vector"].facts) == {
        "format", "encoder", "layers", "media", "recipe", "draws", "reads", "precision", "dtype",
    }  # fmt: skip
    [block] = tmp_path.rglob("block-*")
    assert b"is_outside" not in block.read_bytes()


def test_canonical_json_does_not_depend_on_the_order_of_keys() -> None:
    assert canonical({"b": [1, 2.5], "a": None}) == '{"a":null,"b":[1,2.5]}'
    assert digest({"b": 1, "a": 2}) == digest({"a": 2, "b": 1})


def test_only_tokens_of_several_layers_say_how_they_are_joined(
    videos: list[Path], tmp_path: Path
) -> None:
    def facts(reads: str, layers: tuple[int, ...]) -> dict[str, Any]:
        extraction = extraction_of(
            tiny_encoder(), make_manifest(videos), readouts=[reads], layers=layers
        )
        return extraction.feature_sets(tmp_path, Silent())[reads].facts

    assert facts("tokens", (0, 1))["joined"] == "tokens"
    for reads, layers in (("tokens", None), ("tokens", (0,)), ("vector", (0, 1))):
        assert "joined" not in facts(reads, layers)


def test_networks_are_called_as_in_the_features_that_users_have_stored() -> None:
    """Keys of stored features hold these names: a file that moves must not change them."""
    kinds = (
        VideoViT, RotaryViT, ImageViT, TableViT, HieraTokens, ClassTokenViT, PixelMean, FrameByFrame
    )  # fmt: skip
    assert [class_name(kind) for kind in kinds] == [
        "bench.encoders.video_vit.VideoViT",
        "bench.encoders.rotary_vit.RotaryViT",
        "bench.encoders.image_vit.ImageViT",
        "bench.encoders.table_vit.TableViT",
        "bench.encoders.hiera.HieraTokens",
        "bench.encoders.vicmae.ClassTokenViT",
        "bench.encoders.floors.PixelMean",
        "bench.encoders.adapt.FrameByFrame",
    ]
    assert encoder_facts(tiny_encoder())["network"] == "bench.encoders.video_vit.VideoViT"
