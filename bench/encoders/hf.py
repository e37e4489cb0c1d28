"""Backbones of the transformers library, from the hub at a pinned revision or from a folder.

Only architectures of the library itself are built; code that is shipped with weights is never run.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Any

from torch import nn

from bench import registry
from bench.encoders.encoder import Encoder, num_trainable
from bench.encoders.networks.adapt import FrameByFrame
from bench.encoders.networks.hf_networks import FAMILIES, Family, LibraryNetwork, set_rope_grid
from bench.encoders.weights.hf_files import configuration, licence, loaded, model_folder
from bench.encoders.weights.hf_preprocessing import Preprocessing, read_preprocessing
from bench.errors import UsageError
from bench.types import Card, EncoderSpec

# Fields of a configuration that do not shape the network.
IGNORED = {"_name_or_path", "architectures", "dtype", "id2label", "label2id", "problem_type"}
IGNORED |= {"torch_dtype", "transformers_version", "num_labels", "_attn_implementation"}


@registry.encoder
def hf(
    *,
    model: str,
    num_frames: int | None = None,
    image_size: int | None = None,
    still_frames: int | None = None,
) -> Encoder:
    """A backbone of transformers: `hf:ORG/NAME@REVISION`, or `hf:FOLDER` with its files.

    Image models encode the frames of a clip one by one (16 by default). `image_size`, and
    `num_frames` of video models, can be changed only if the model's positions work at any size
    (DINOv2, DINOv3, V-JEPA 2). A video model sees `still_frames` copies of a still. Without a
    revision the newest one is used and recorded.

    Raises:
        UsageError: an unsupported model type, or sizes that the model does not support.
        CheckpointError: files that are unavailable or do not hold the whole network.
    """
    folder, source, notes = model_folder(model)
    config = configuration(folder)
    family = FAMILIES[config["model_type"]]
    network, dropped = loaded(folder, family)
    is_vjepa2 = config["model_type"] == "vjepa2"
    if is_vjepa2:
        del network.predictor  # loaded only to check that the file is complete; never run
    pixels = read_preprocessing(folder)
    native = _native(network, family, pixels, model, source)
    spec = _sized(native, family, model, num_frames, image_size, still_frames)
    spec = replace(spec, card=Card(licence=licence(folder)))
    if is_vjepa2:
        set_rope_grid(network, spec.image_size)
    identity = f"transformers {type(network).__name__} {_digest(network.config)}"
    wrapped = LibraryNetwork(network, family, spec, identity=identity)
    return Encoder(
        FrameByFrame(wrapped, spec) if family.takes == "image" else wrapped,
        spec,
        notes=(*notes, *dropped, *pixels.notes),
    )


def _native(
    network: nn.Module, family: Family, pixels: Preprocessing, model: str, source: str
) -> EncoderSpec:
    """Return the spec that the configuration describes, at the model's native size."""
    config: Any = network.config
    kind, patch, tubelet = config.model_type, getattr(config, "patch_size", 0), 1
    size: Any = getattr(config, "image_size", None) or getattr(config, "crop_size", None)
    sides = list(size) if isinstance(size, (list, tuple)) else [size]
    if len(set(sides)) > 1:
        raise UsageError(
            f"encoder hf:{model} takes images of {' x '.join(map(str, sides))} pixels, and only"
            " square ones are supported; give a model for square images."
        )
    heads = getattr(config, "num_attention_heads", 1)
    depth = getattr(config, "num_hidden_layers", 1)
    if kind == "vivit":
        tubelet, patch = int(config.tubelet_size[0]), config.tubelet_size[1]
    elif kind in ("videomae", "vjepa2"):
        tubelet = int(config.tubelet_size)
    elif kind == "hiera":
        # Only the last feature map is read; this is its stride in pixels.
        patch = config.patch_stride[0] * config.query_stride[0] ** config.num_query_pool
        heads, depth = config.num_heads[-1], 1
    patch = patch[0] if isinstance(patch, (list, tuple)) else patch
    frames: Any = getattr(config, "frames_per_clip", None) or getattr(config, "num_frames", 16)
    preferred = pixels.size if family.any_size else None
    size = sides[0] if preferred is None else preferred
    if size is None:
        raise UsageError(f"encoder hf:{model} has no image_size in its config.json.")
    return EncoderSpec(
        name=f"hf:{model.rstrip('/').rpartition('/')[2]}" if source == model else f"hf:{model}",
        width=int(config.hidden_size),
        depth=int(depth),
        num_heads=int(heads),
        num_frames=int(frames) if family.takes == "video" else 16,
        image_size=int(size),
        patch_size=int(patch),
        tubelet_size=tubelet,
        source=source,
        mean=pixels.mean,
        std=pixels.std,
        interpolation=pixels.interpolation,
        takes=family.takes,
        crop_fraction=pixels.crop_fraction,
        num_prefix=family.num_prefix(config),
        num_parameters=num_trainable(network),
    )


def _sized(
    native: EncoderSpec,
    family: Family,
    model: str,
    num_frames: int | None,
    image_size: int | None,
    still_frames: int | None,
) -> EncoderSpec:
    """Return the spec for the requested clip size, or refuse what the model does not support."""
    frames = native.num_frames if num_frames is None else num_frames
    size = native.image_size if image_size is None else image_size
    whole = [("image_size", size, native.patch_size)]
    whole += [("num_frames", frames, native.tubelet_size)]
    if still_frames is not None:
        whole += [("still_frames", still_frames, native.tubelet_size)]
        if family.takes == "image":
            raise UsageError(f"encoder hf:{model} sees a still once; leave still_frames out.")
    for option, value, part in whole:
        if value < 1 or value % part:
            raise UsageError(
                f"encoder hf:{model}: {option} {value} must be a positive multiple of {part}."
            )
    fixed = [(f"image_size {native.image_size}", size == native.image_size)]
    if family.takes == "video":
        num = native.num_frames
        fixed += [(f"num_frames {num}", frames == num)]
        fixed += [(f"still_frames {num}", still_frames in (None, num))]
    wrong = [text for text, fits in fixed if not fits]
    if wrong and not family.any_size:
        raise UsageError(
            f"encoder hf:{model} supports only {' and '.join(wrong)}; leave these options out."
        )
    return replace(native, num_frames=frames, image_size=size, still_frames=still_frames)


def _digest(config: Any) -> str:
    facts = {k: value for k, value in config.to_dict().items() if k not in IGNORED}
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:16]
