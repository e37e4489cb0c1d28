"""The frozen encoder: a network, the spec of its inputs and outputs, and its weight digest."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from bench import registry
from bench.config import set_secrets_aside
from bench.contracts import require_encoder
from bench.encoders.named import builder, name_and_weights
from bench.encoders.networks.adapt import norm_option
from bench.errors import UsageError
from bench.types import EncoderSpec, Tokens


class Encoder(nn.Module):
    """A frozen network with its `spec`: pixels `[B, 3, T, H, W]` to `Tokens`.

    `network` takes `(pixels, keep=..., layers=...)` and returns `Tokens`; if it can skip the final
    norm for taps before the last block, it also takes `norm=False`. It is put in eval mode and its
    parameters stop requiring gradients. `notes` are sentences for the record about how the weights
    were loaded (a rebuilt position table, half-precision weights read as float32).
    """

    def __init__(self, network: nn.Module, spec: EncoderSpec, notes: Sequence[str] = ()) -> None:
        super().__init__()
        self.network = network
        self.spec = spec
        self.notes = tuple(notes)
        self.eval().requires_grad_(False)

    def forward(
        self,
        pixels: torch.Tensor,
        *,
        keep: torch.Tensor | None = None,
        layers: Sequence[int] | None = None,
        norm: bool = True,
    ) -> Tokens:
        """Encode clips; `keep` int64 `[B, K]` are token indices, `layers` ascending block numbers.

        The final norm is applied to every tap, or with `norm` false only to the last block.

        Raises:
            UsageError: a clip shape or a layer that this encoder does not support, or `norm` false
                although the network cannot skip its final norm.
        """
        leave_norm = norm_option(self.network, norm, self.spec.name)
        tokens: Tokens = self.network(pixels, keep=keep, layers=layers, **leave_norm)
        return tokens


def open_encoder(spec: str, options: Mapping[str, Any]) -> Encoder:
    """Build the encoder named by `NAME`, `NAME:WEIGHTS` or the path of weights, frozen.

    `options` are those of the registered function; WEIGHTS is its option `weights` (or `model`, see
    `bench.encoders.named`), and a path alone means `vjepa:PATH`.

    Raises:
        UsageError: an unknown name or option, weights given twice, or a user-defined function that
            does not return an encoder.
        CheckpointError: weights that are unavailable or incomplete.
    """
    spec, options = set_secrets_aside(spec), set_secrets_aside(dict(options))
    name, weights = name_and_weights(spec)
    entry, named = builder(name, weights)
    for option, value in named.items():
        if options.get(option, value) != value:
            raise UsageError(
                f"encoder {spec!r} already contains its {option}, but the option {option} is"
                f" {options[option]!r}; give one of the two."
            )
    encoder = entry.function(**registry.checked(entry, {**options, **named}))
    if not isinstance(encoder, Encoder):
        raise UsageError(
            f"encoder {spec!r}: its function returned a {type(encoder).__name__}; return a"
            " bench.encoders.encoder.Encoder."
        )
    require_encoder(spec, encoder)
    return encoder.eval().requires_grad_(False)


def weight_digest(module: nn.Module) -> str:
    """Return the SHA-256 over the sorted state dict: names, dtypes, shapes and bytes.

    Buffers (the position table) are included, since they change the features.
    """
    state = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        state.update(f"{name}\t{tensor.dtype}\t{tuple(tensor.shape)}\n".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        state.update(flat.view(torch.uint8).numpy().data)
    return state.hexdigest()


def num_trainable(module: nn.Module) -> int:
    """Count the parameters (not the buffers) of a module."""
    return sum(parameter.numel() for parameter in module.parameters())
