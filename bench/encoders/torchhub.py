"""Models of torch.hub, which run the code of a repository: only with the user's explicit consent.

Supported are image models with the interface of DINOv2 (`get_intermediate_layers`) and repositories
that return an `Encoder` themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bench import registry
from bench.encoders.encoder import Encoder, num_trainable
from bench.encoders.networks.adapt import FrameByFrame, ImageModel
from bench.encoders.networks.video_vit import Keep
from bench.errors import CheckpointError, UsageError, first_line
from bench.types import EncoderSpec, Tokens

INTERFACE = ("get_intermediate_layers", "embed_dim", "patch_size", "blocks")


@registry.encoder
def torchhub(
    *,
    model: str,
    trust_remote_code: bool = False,
    num_frames: int = 16,
    image_size: int = 224,
) -> Encoder:
    """A model of torch.hub, as torchhub:OWNER/REPO:REF:MODEL or torchhub:FOLDER:MODEL.

    The repository's code runs on this machine and loads the weights, so whether all tensors were
    loaded is unknown; --trust-remote-code is required.

    Raises:
        UsageError: remote code is not trusted, or the model has an unsupported interface.
        CheckpointError: the repository or its weights are unavailable.
    """
    repository, _, name = model.rpartition(":")
    if not repository or not name:
        raise UsageError(
            f"encoder 'torchhub:{model}': write torchhub:OWNER/REPO:REF:MODEL or"
            " torchhub:FOLDER:MODEL."
        )
    if not trust_remote_code:
        raise UsageError(
            f"encoder 'torchhub:{model}' would run the code of {repository} on this machine; if you"
            " trust it, add --trust-remote-code."
        )
    network = _made(repository, name)
    note = f"loaded by the code of {repository}; whether all tensors were loaded is unknown"
    if isinstance(network, Encoder):
        return Encoder(network.network, network.spec, notes=(*network.notes, note))
    patch_size = network.patch_size
    patch = int(patch_size[0] if isinstance(patch_size, (list, tuple)) else patch_size)
    if num_frames < 1 or image_size < 1 or image_size % patch:
        raise UsageError(
            f"encoder 'torchhub:{model}': image_size {image_size} must be a multiple of {patch} and"
            f" num_frames {num_frames} at least 1."
        )
    spec = EncoderSpec(
        name=f"torchhub:{name}",
        width=int(network.embed_dim),
        depth=len(network.blocks),
        num_heads=int(getattr(network, "num_heads", max(1, network.embed_dim // 64))),
        num_frames=num_frames,
        image_size=image_size,
        patch_size=patch,
        tubelet_size=1,
        source=f"torchhub:{model}",
        takes="image",
        num_prefix=1,
        num_parameters=num_trainable(network),
    )
    wrapped = _Dino(network, spec, identity=f"torchhub {model}")
    return Encoder(FrameByFrame(wrapped, spec), spec, notes=(note,))


def _made(repository: str, name: str) -> Any:
    """Return what the repository's code builds: an `Encoder`, or a model to be wrapped."""
    is_local = Path(repository).is_dir()
    try:
        load: Any = torch.hub.load
        made = load(repository, name, source="local" if is_local else "github", trust_repo=True)
    except (OSError, RuntimeError, ValueError, ImportError) as error:
        raise CheckpointError(
            f"torchhub:{repository}:{name} cannot be loaded ({first_line(error)})."
        ) from error
    lacks = [part for part in INTERFACE if not hasattr(made, part)]
    if not isinstance(made, Encoder) and (lacks or not isinstance(made, nn.Module)):
        raise UsageError(
            f"encoder 'torchhub:{repository}:{name}' is a {type(made).__name__} without"
            f" {', '.join(lacks) or 'weights'}, and only the interface of DINOv2 is supported; wrap"
            " it in a function of your own: --encoder py:MODULE:FUNCTION."
        )
    return made


class _Dino(ImageModel):
    """Images `[B, 3, H, W]` to patch tokens `[B, N, D]`, with the class token as prefix."""

    leaves_norm = False

    def _tokens(self, images: torch.Tensor, keep: Keep, taps: Sequence[int], norm: bool) -> Tokens:
        self._refuse_mask(keep)
        tapped = self.model.get_intermediate_layers(  # type: ignore[operator]
            images, n=list(taps), return_class_token=True
        )
        height, width = (side // self.patch_size for side in images.shape[-2:])
        if tapped[0][0].shape[1] != height * width:
            raise UsageError(
                f"{self.identity} returns {tapped[0][0].shape[1]} tokens for {height} x {width}"
                " patches; wrap it in a function of your own: --encoder py:MODULE:FUNCTION."
            )
        return Tokens(
            layers=tuple(patches for patches, _ in tapped),
            grid=(1, height, width),
            prefix=tuple(token.unsqueeze(1) for _, token in tapped),
        )
