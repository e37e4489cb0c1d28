"""The shared vocabulary of the harness: encoder specs, tokens, clip plans, features and probes.

Shape letters used throughout: B samples, V spatial views, S temporal clips, T frames of a clip,
H and W pixels, N = t*h*w tokens of a clip, L = S*N tokens of a view, D feature width,
K heads of a sweep, C classes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from bench.errors import UsageError

if TYPE_CHECKING:
    import torch


IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
Reads = Literal["vector", "tokens"]
Kind = Literal["video", "image"]
Unit = Literal["clip", "box"]
Settings = Mapping[str, Any]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


# ------------------------------------------------------------------------------------- encoders
@dataclass(frozen=True, kw_only=True)
class Card:
    """Where an encoder comes from: its `licence`, and what it was `trained_on`.

    `trained_on` uses task names where the data sets are tasks (`k400`, `in1k`), so that a table can
    show when a model has seen what it is scored on; `labels` says how much of them was labelled.
    """

    licence: str = "unknown"
    trained_on: tuple[str, ...] = ()
    labels: Literal["none", "some", "all", "unknown"] = "unknown"


@dataclass(frozen=True, kw_only=True)
class EncoderSpec:
    """Inputs and outputs of a frozen encoder; preprocessing belongs to the encoder.

    `num_frames` and `image_size` (pixels) are those of one clip. `num_heads` is the number of
    attention heads (the V-JEPA probe uses as many). `clips_per_call` is the fixed number of clips
    per forward call, independent of the user's batch size, so that features are bit-identical
    whatever that is. `source` says where the weights came from, `card` the rest.

    An encoder that `takes` images sees the frames of a clip one by one. A video encoder sees a
    still as `still_frames` copies (None: `num_frames`). A still is resized to `image_size` /
    `crop_fraction` by `interpolation` and centre-cropped. `num_prefix` counts class and register
    tokens, which are not patch tokens.
    """

    name: str
    width: int
    depth: int
    num_heads: int
    num_frames: int
    image_size: int
    patch_size: int
    tubelet_size: int
    source: str
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    interpolation: str = "bilinear"
    clips_per_call: int = 16
    takes: Kind = "video"
    still_frames: int | None = None
    crop_fraction: float = 0.875
    num_prefix: int = 0
    num_parameters: int = 0
    card: Card = Card()
    is_floor: bool = False  # random weights or raw pixels: every table shows it as a floor


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """Patch tokens per tapped layer, each `[B, t*h*w, D]` in (t, y, x) row-major order.

    `grid` is (t, h, w); with a token mask the sequence is shorter than its product. `prefix` has
    the class and register tokens of the same layers, `[B, P, D]` each (for an image encoder those
    of all frames), or is empty.
    """

    layers: tuple[torch.Tensor, ...]
    grid: tuple[int, int, int]
    prefix: tuple[torch.Tensor, ...] = ()

    @property
    def last(self) -> torch.Tensor:
        """Tokens of the deepest tapped layer, `[B, N, D]`."""
        return self.layers[-1]


# ----------------------------------------------------------------------------------- clip plans
@dataclass(frozen=True, kw_only=True)
class ClipPlan:
    """Which frames of a video to read: `"16x8x3@4"` is 16 frames, 8 clips, 3 views, stride 4.

    `sampler` is `plain` (true stride) or `vjepa` (the released samplers, see
    `bench/data/views/clip_frames.py`). An image task has one clip of repeated frames, stride 0.
    """

    num_frames: int
    num_clips: int
    num_views: int
    stride: int
    sampler: str = "plain"

    def __post_init__(self) -> None:
        if min(self.num_frames, self.num_clips, self.num_views) < 1 or self.stride < 0:
            raise UsageError(
                f"plan {self}: frames, clips and views must be at least 1 and the stride at least"
                " 0; write it as FRAMESxCLIPSxVIEWS@STRIDE, for example 16x8x3@4."
            )

    @classmethod
    def parse(cls, text: str, sampler: str = "plain") -> ClipPlan:
        """Parse `"16x8x3@4"`; views and clips may be omitted (`"16@4"`, `"16x2@4"`)."""
        match = re.fullmatch(r"(\d+)(?:x(\d+))?(?:x(\d+))?@(\d+)", text.strip())
        if not match:
            raise UsageError(
                f"plan {text!r} is not a clip plan; write FRAMESxCLIPSxVIEWS@STRIDE, such as"
                " 16x8x3@4."
            )
        frames, clips, views, stride = (int(group or 1) for group in match.groups())
        return cls(
            num_frames=frames, num_clips=clips, num_views=views, stride=stride, sampler=sampler
        )

    def __str__(self) -> str:
        return f"{self.num_frames}x{self.num_clips}x{self.num_views}@{self.stride}"


# ------------------------------------------------------------------------------ features, probes
@dataclass(frozen=True, kw_only=True)
class Batch:
    """A batch of features: `x` is `[B, V, D]` (vector) or `[B, V, L, D]` (tokens), float32.

    `y` is int64 `[B]` (`[B, C]` if rows have several labels), `row` int64 `[B]` (row numbers within
    the source). A fit source has V = 1.
    """

    x: torch.Tensor
    y: torch.Tensor
    row: torch.Tensor


class FeatureSource(Protocol):
    """Features of a manifest; probes see no difference between stored and live ones."""

    @property
    def reads(self) -> Reads: ...

    @property
    def labels(self) -> IntArray:
        """Labels by row, int64 `[rows]`; 0 and 1 `[rows, C]` if rows have several."""
        ...

    @property
    def groups(self) -> IntArray | None:
        """Group of each row (a video), held out as a whole, int64 `[rows]`; None: no groups."""
        ...

    @property
    def num_classes(self) -> int: ...

    @property
    def width(self) -> int: ...

    def __len__(self) -> int: ...

    def epoch(self, number: int, *, batch_size: int, seed: int | None = None) -> Iterator[Batch]:
        """Yield every row once, in row order without a seed, else shuffled by (seed, number).

        With K stored draws, epoch `number` reads draw `number % K`.
        """
        ...

    def subset(self, rows: IntArray) -> FeatureSource:
        """The same features restricted to `rows` (row numbers within this source)."""
        ...


@dataclass(frozen=True, kw_only=True)
class Head:
    """One member of a sweep, identified by its settings at full precision."""

    settings: Settings

    def __str__(self) -> str:
        return " ".join(f"{k}={v!r}" for k, v in self.settings.items()) or "default"


class Fitted(Protocol):
    """A trained probe: class probabilities per head."""

    @property
    def heads(self) -> Sequence[Head]: ...

    @property
    def log(self) -> Mapping[str, Any]:
        """Facts of the fit for the record: losses per epoch, dropped heads, warnings."""
        ...

    def probabilities(self, x: torch.Tensor) -> torch.Tensor:
        """`[B, V, ...]` features to `[K, B, C]` probabilities, averaged over the V views.

        They sum to 1 over the classes, unless training rows had several labels each.
        """
        ...

    def state(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """Tensors and JSON-serialisable facts from which the owning probe can `restore` it."""
        ...


class Probe(Protocol):
    """A classifier on frozen features; `fit` is the only place that sees labels."""

    @property
    def name(self) -> str: ...

    @property
    def reads(self) -> Reads: ...

    @property
    def heads(self) -> Sequence[Head]: ...

    @property
    def settings(self) -> Settings:
        """The settings shared by all heads (epochs, batch size, ...)."""
        ...

    def only(self, index: int) -> Probe:
        """The same probe with only the head `heads[index]`."""
        ...

    def fit(
        self, source: FeatureSource, *, seed: int, device: torch.device, progress: Progress
    ) -> Fitted: ...

    def restore(self, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, Any]) -> Fitted:
        """Rebuild a fit from what `Fitted.state` returned."""
        ...

    def read_released(self, path: Path) -> Fitted:
        """Read a probe file in its published layout; `UsageError` if this probe has none."""
        ...


class Progress(Protocol):
    """Progress of long loops: a rich bar on a terminal, nothing in a test."""

    def start(self, title: str, total: int) -> None:
        """Begin a loop of `total` steps."""

    def advance(self, steps: int = 1) -> None:
        """Count finished steps."""

    def stop(self) -> None:
        """End the loop, even if steps are left."""


class Silent:
    """A `Progress` that shows nothing."""

    def start(self, title: str, total: int) -> None:
        """Ignore the start of a loop."""

    def advance(self, steps: int = 1) -> None:
        """Ignore a step."""

    def stop(self) -> None:
        """Ignore the end of a loop."""
