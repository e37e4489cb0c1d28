"""Every family of encoders, built small: files under its released names, with random weights.

`FAMILIES` are what the sweeps go through; a registered encoder that is in neither it nor `NAMED`
fails `test_registry_sweep.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from bench.encoders.encoder import Encoder, open_encoder
from tests.encoders.files import FIXTURES

Tensors = dict[str, torch.Tensor]
WIDTH, DEPTH, PATCH, FRAMES, PIXELS = 32, 3, 8, 4, 16
VIT = {"num_heads": 2, "depth": DEPTH, "num_frames": FRAMES, "image_size": PIXELS}


@dataclass(frozen=True, kw_only=True)
class Family:
    """One family: how it is opened, which flat state dict its file holds, and what it can do.

    `wrap` makes of the state dict what is saved, and `library` the folder of a model of
    transformers that holds it. `apart` matches names that are no part of the encoder and are left
    out with a note.
    """

    spec: str = ""  # NAME: for a file, else the whole name
    options: Mapping[str, Any] = field(default_factory=dict)
    tensors: Callable[[], Tensors] | None = None
    wrap: Callable[[Tensors], Any] = dict
    library: Callable[[], Any] | None = None
    apart: str = r"(?!)"
    takes_masks: bool = True
    takes_other_sizes: bool = True
    has_norm: bool = True
    tells_depth: bool = False  # a file without its last block is known to be incomplete
    layers: tuple[int, ...] = (0, DEPTH - 1)

    @property
    def has_file(self) -> bool:
        return self.tensors is not None or self.library is not None

    @property
    def file(self) -> str:
        """The name of its weight file."""
        return "model.safetensors" if self.library else "weights.pt"

    def held(self) -> Tensors:
        """Return the flat state dict of its file, made once."""
        return dict(_held(self.tensors, self.library))

    def save(self, folder: Path, tensors: Tensors | None = None) -> str:
        """Write the family's file (of `tensors`, or its own) and return how to open it."""
        if not self.has_file:
            return self.spec
        tensors = self.held() if tensors is None else tensors
        if self.library:
            self.library().save_pretrained(folder)
            whole = {name: tensor.contiguous().clone() for name, tensor in tensors.items()}
            save_file(whole, folder / self.file, metadata={"format": "pt"})
            return f"{self.spec}{folder}"
        torch.save(self.wrap(tensors), folder / self.file)
        return f"{self.spec}{folder / self.file}"

    def open(self, folder: Path) -> Encoder:
        """Return the small encoder."""
        return open_at(self, self.save(folder))


def open_at(family: Family, spec: str) -> Encoder:
    """Open a file as a family; one that names its network apart has the file as an option."""
    name, _, path = spec.partition("=")
    return open_encoder(name, {**family.options, **({"weights": path} if path else {})})


@cache
def _held(tensors: Callable[[], Tensors] | None, library: Callable[[], Any] | None) -> Tensors:
    if tensors:
        return tensors()
    assert library
    with TemporaryDirectory() as folder:
        library().save_pretrained(folder)
        return load_file(f"{folder}/model.safetensors")


# ------------------------------------------------------------------------- tensors under any names
def drawn(shapes: Mapping[str, tuple[int, ...]]) -> Tensors:
    """Draw tensors: gains of norms around one, all others around zero."""
    generator = torch.Generator().manual_seed(5)
    made = {}
    for name, shape in shapes.items():
        noise = torch.randn(shape, generator=generator) * 0.1
        made[name] = noise + 1 if "norm" in name and name.endswith("weight") else noise
    return made


def vit(*, video: bool = True, joined: bool = True, norm: bool = True) -> Tensors:
    """A plain ViT under the names that most of these families share."""
    kernel = (2, PATCH, PATCH) if video else (PATCH, PATCH)
    shapes: dict[str, tuple[int, ...]] = {
        "patch_embed.proj.weight": (WIDTH, 3, *kernel),
        "patch_embed.proj.bias": (WIDTH,),
    }
    for i in range(DEPTH):
        b = f"blocks.{i}."
        shapes |= {f"{b}norm{n}.{k}": (WIDTH,) for n in (1, 2) for k in ("weight", "bias")}
        shapes |= {f"{b}attn.qkv.weight": (3 * WIDTH, WIDTH)}
        biases = {"qkv.bias": (3 * WIDTH,)} if joined else {"q_bias": (WIDTH,), "v_bias": (WIDTH,)}
        shapes |= {f"{b}attn.{name}": shape for name, shape in biases.items()}
        shapes |= {f"{b}attn.proj.weight": (WIDTH, WIDTH), f"{b}attn.proj.bias": (WIDTH,)}
        shapes |= {f"{b}mlp.fc1.weight": (4 * WIDTH, WIDTH), f"{b}mlp.fc1.bias": (4 * WIDTH,)}
        shapes |= {f"{b}mlp.fc2.weight": (WIDTH, 4 * WIDTH), f"{b}mlp.fc2.bias": (WIDTH,)}
    shapes |= {"norm.weight": (WIDTH,), "norm.bias": (WIDTH,)} if norm else {}
    return drawn(shapes)


def prefixed(tensors: Tensors, prefix: str) -> Tensors:
    return {f"{prefix}{name}": tensor for name, tensor in tensors.items()}


def beside(**shapes: tuple[int, ...]) -> Tensors:
    """Other tensors of a file; two underscores stand for a dot."""
    return drawn({name.replace("__", "."): shape for name, shape in shapes.items()})


@cache
def _fixture(file: str) -> dict[str, Any]:
    held: dict[str, Any] = torch.load(FIXTURES / file, weights_only=True)
    return held


def golden(file: str, key: str = "target_encoder") -> Callable[[], Tensors]:
    def tensors() -> Tensors:
        held: Tensors = _fixture(file)[key]
        return held

    return tensors


def as_released(file: str, key: str = "target_encoder") -> Callable[[Tensors], Any]:
    """The published dict with another encoder under both keys."""

    def wrap(tensors: Tensors) -> Any:
        return {**_fixture(file), key: tensors, "encoder": tensors}

    return wrap


def under(key: str) -> Callable[[Tensors], Any]:
    return lambda tensors: {key: tensors, "epoch": 3}


def random_norms(network: nn.Module) -> Tensors:
    """State dict of a network in which every number is random, those of its norms too."""
    generator = torch.Generator().manual_seed(5)
    made = {}
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            noise = torch.randn(tensor.shape, generator=generator)
            tensor = tensor + 0.1 * (noise.abs() if name.endswith("running_var") else noise)
        made[name] = tensor
    return made


# --------------------------------------------------------------------------------- family by family
HUB_VIDEOMAE = (
    (r"patch_embed\.proj", "videomae.embeddings.patch_embeddings.projection"),
    (r"blocks\.(\d+)\.norm1", r"videomae.encoder.layer.\1.layernorm_before"),
    (r"blocks\.(\d+)\.norm2", r"videomae.encoder.layer.\1.layernorm_after"),
    (r"blocks\.(\d+)\.attn\.([qv])_bias", r"videomae.encoder.layer.\1.attention.attention.\2_bias"),
    (r"blocks\.(\d+)\.attn\.proj", r"videomae.encoder.layer.\1.attention.output.dense"),
    (r"blocks\.(\d+)\.mlp\.fc1", r"videomae.encoder.layer.\1.intermediate.dense"),
    (r"blocks\.(\d+)\.mlp\.fc2", r"videomae.encoder.layer.\1.output.dense"),
)
HUB_VJEPA2 = (
    (r"patch_embed\.proj", "encoder.embeddings.patch_embeddings.proj"),
    (r"blocks\.(\d+)\.(norm\d|mlp\.fc\d)", r"encoder.layer.\1.\2"),
    (r"blocks\.(\d+)\.attn\.proj", r"encoder.layer.\1.attention.proj"),
    (r"norm\.", "encoder.layernorm."),
)


def renamed(tensors: Tensors, rules: tuple[tuple[str, str], ...], qkv: str) -> Tensors:
    """Rename by the first rule that fits, with the joined weights of attention cut in three."""
    made: Tensors = {}
    for name, tensor in tensors.items():
        if found := re.match(r"blocks\.(\d+)\.attn\.qkv\.(\w+)", name):
            for word, part in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
                made[f"{qkv.format(found[1])}.{word}.{found[2]}"] = part.clone()
            continue
        rule = next(((old, new) for old, new in rules if re.match(old, name)), None)
        made[re.sub(f"^{rule[0]}", rule[1], name) if rule else name] = tensor
    return made


def videomae_pretraining() -> Tensors:
    return {
        **prefixed(vit(joined=False), "encoder."),
        **beside(
            encoder_to_decoder__weight=(12, WIDTH), mask_token=(1, 1, 12),
            decoder__norm__weight=(12,), decoder__head__weight=(384, 12),
        ),
    }  # fmt: skip


def videomae_finetuned() -> Tensors:
    pooled = beside(fc_norm__weight=(WIDTH,), fc_norm__bias=(WIDTH,), head__weight=(7, WIDTH),
                    head__bias=(7,))  # fmt: skip
    return {**vit(joined=False, norm=False), **pooled}


def videomae_hub() -> Tensors:
    named = renamed(
        vit(joined=False, norm=False), HUB_VIDEOMAE, "videomae.encoder.layer.{}.attention.attention"
    )
    return {**named, **beside(fc_norm__weight=(WIDTH,), fc_norm__bias=(WIDTH,),
                              classifier__weight=(7, WIDTH), classifier__bias=(7,))}  # fmt: skip


def vjepa2_hub() -> Tensors:
    return renamed(vit(), HUB_VJEPA2, "encoder.layer.{}.attention")


def mvd_pretraining() -> Tensors:
    return {
        **vit(joined=False),
        **beside(mask_token_img=(1, 1, 12), decoder_img__norm__weight=(12,),
                 down_vid__weight=(12, WIDTH)),
    }  # fmt: skip


def omnimae_pretraining() -> Tensors:
    from bench.encoders.networks.positions import sinusoid_1d

    named = {
        name.replace("patch_embed.proj.", "patch_embed.proj.1."): tensor
        for name, tensor in vit().items()
    }
    table = sinusoid_1d(WIDTH, FRAMES // 2 * (PIXELS // PATCH) ** 2).unsqueeze(0)
    apart = beside(mask_token=(1, 1, 12), decoder__norm__weight=(12,))
    return {**prefixed({**named, "pos_embed": table, **apart}, "trunk.")}


def vicmae_pretraining() -> Tensors:
    tokens = 1 + (PIXELS // PATCH) ** 2
    return {
        **vit(video=False),
        **beside(cls_token=(1, 1, WIDTH), pos_embed=(1, tokens, WIDTH), mask_token=(1, 1, 12),
                 decoder_embed__weight=(12, WIDTH), projector__0__weight=(12, WIDTH)),
    }  # fmt: skip


def hiera_finetuned() -> Tensors:
    from timm.models.hiera import Hiera

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        trunk = Hiera(
            img_size=(FRAMES, 32, 32), embed_dim=8, num_heads=1, num_classes=0,
            stages=(1, 1, 1, 2), q_stride=(1, 2, 2), mask_unit_size=(1, 8, 8),
            patch_kernel=(3, 7, 7), patch_stride=(2, 4, 4), patch_padding=(1, 3, 3),
            sep_pos_embed=True,
        )  # fmt: skip
    names = {name: t for name, t in random_norms(trunk).items() if not name.startswith("head")}
    head = beside(norm__weight=(64,), norm__bias=(64,), head__projection__weight=(7, 64),
                  head__projection__bias=(7,))  # fmt: skip
    return {**names, **head}


def of_timm(model: str) -> Callable[[], Tensors]:
    def tensors() -> Tensors:
        import timm

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network = timm.create_model(model, pretrained=False)
        return random_norms(network)

    return tensors


SIZE = {"hidden_size": 32, "num_hidden_layers": DEPTH, "num_attention_heads": 2}
PICTURE = {**SIZE, "image_size": 32, "patch_size": 16}
CLIP = {**SIZE, "image_size": 32, "num_frames": 4, "intermediate_size": 64}


def of_transformers(config: str, model: str, **facts: Any) -> Callable[[], Any]:
    """A tiny model of transformers, all of whose numbers are random."""

    @cache
    def library() -> Any:
        import transformers  # slow to import

        made = getattr(transformers, model)(getattr(transformers, config)(**facts)).eval()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(7)
            for parameter in made.parameters():
                nn.init.normal_(parameter, std=0.2)
        return made

    return library


def tiny_own(*, seed: int = 3) -> Encoder:
    """What a user writes: a function that builds an encoder."""
    from bench.encoders.networks.video_vit import fresh_vit
    from bench.encoders.vjepa import vit_spec

    shape = open_encoder("random:vit_digits", {}).network.architecture
    network = fresh_vit(shape, seed=seed)
    network.load_state_dict({**random_norms(network), "pos_embed": network.pos_embed})
    return Encoder(network, vit_spec(network, name="tiny_own", source=f"seed {seed}"))


V1, V2 = "v1_encoder.pt", "v2_encoder.pt"
HEADLESS = r"(fc_norm|head|classifier)\."
FAMILIES: dict[str, Family] = {
    "vjepa": Family(
        spec="vjepa:", tensors=golden(V1), wrap=as_released(V1),
        options={"num_heads": 4, "depth": 3}, tells_depth=True,
    ),
    "vjepa bare": Family(
        spec="vjepa:", options={"num_heads": 4, "depth": 3}, tells_depth=True,
        tensors=lambda: {n.removeprefix("module.backbone."): t for n, t in golden(V1)().items()},
    ),
    "vjepa2": Family(
        spec="vjepa2:", tensors=golden(V2), wrap=as_released(V2), tells_depth=True,
        options={"num_heads": 2, "depth": 3, "num_frames": 4, "image_size": 16},
    ),
    "vjepa2 hub": Family(
        spec="vjepa2:", tensors=vjepa2_hub, options=VIT, tells_depth=True,
    ),
    "ijepa": Family(
        spec="ijepa:", tensors=golden("ijepa.pt"), wrap=as_released("ijepa.pt"), layers=(0, 1),
        options={"num_heads": 3, "depth": 2, "num_frames": 2}, tells_depth=True,
        takes_other_sizes=False,
    ),
    "videomae": Family(
        spec="videomae:", tensors=videomae_pretraining, wrap=under("model"), options=VIT,
        apart=r"decoder\.|encoder_to_decoder|mask_token", tells_depth=True,
    ),
    "videomae finetuned": Family(
        spec="videomae:", tensors=videomae_finetuned, wrap=under("module"), options=VIT,
        apart=HEADLESS, tells_depth=True, has_norm=False,
    ),
    "videomae hub": Family(
        spec="videomae:", tensors=videomae_hub, options=VIT, apart=HEADLESS, tells_depth=True,
        has_norm=False,
    ),
    "mvd": Family(
        spec="mvd:", tensors=mvd_pretraining, wrap=under("model"), options=VIT, tells_depth=True,
        apart=r"mask_token_|decoder_|down_",
    ),
    "omnimae": Family(
        spec="omnimae:", tensors=omnimae_pretraining, options=VIT, tells_depth=True,
        apart=r"trunk\.(mask_token|decoder)",
    ),
    "vicmae": Family(
        spec="vicmae:", tensors=vicmae_pretraining, wrap=under("model"), tells_depth=True,
        options={"num_heads": 2, "depth": DEPTH, "num_frames": 3},
        apart=r"mask_token|decoder_|projector\.",
    ),
    "hiera": Family(
        spec="hiera:", tensors=hiera_finetuned, wrap=under("model_state"), options={"num_heads": 1},
        apart=r"norm\.|head\.", layers=(3, 4), takes_masks=False, takes_other_sizes=False,
        has_norm=False,
    ),
    "timm vit": Family(
        spec="timm/test_vit=", tensors=of_timm("test_vit"), apart=r"head\.", layers=(0, 5),
        options={"num_frames": 2}, takes_masks=False, tells_depth=True,
    ),
    "timm map": Family(
        spec="timm/test_efficientnet=", tensors=of_timm("test_efficientnet"),
        apart=r"classifier\.", options={"num_frames": 2}, layers=(0,), takes_masks=False,
        has_norm=False, tells_depth=True,
    ),
    "hf videomae": Family(
        spec="hf:", takes_masks=False, takes_other_sizes=False, tells_depth=True,
        library=of_transformers("VideoMAEConfig", "VideoMAEModel", **CLIP, patch_size=16,
                                use_mean_pooling=False),
    ),
    "hf vivit": Family(
        spec="hf:", takes_masks=False, takes_other_sizes=False, tells_depth=True,
        apart=r"pooler\.",
        library=of_transformers("VivitConfig", "VivitModel", **CLIP, tubelet_size=[2, 16, 16]),
    ),
    "hf timesformer": Family(
        spec="hf:", takes_masks=False, takes_other_sizes=False, tells_depth=True,
        library=of_transformers("TimesformerConfig", "TimesformerModel", **CLIP, patch_size=16),
    ),
    "hf vjepa2": Family(
        spec="hf:", takes_masks=False, takes_other_sizes=False, tells_depth=True,
        library=of_transformers(
            "VJEPA2Config", "VJEPA2Model", **{**SIZE, "hidden_size": 48}, crop_size=32,
            frames_per_clip=4, pred_hidden_size=48, pred_num_hidden_layers=1,
            pred_num_attention_heads=2,
        ),
        apart=r"predictor\.",
    ),
    "hf dinov2": Family(
        spec="hf:", options={"num_frames": 2}, takes_masks=False, tells_depth=True,
        apart=r".*mask_token",
        library=of_transformers("Dinov2WithRegistersConfig", "Dinov2WithRegistersModel", **PICTURE),
    ),
    "hf dinov3": Family(
        spec="hf:", options={"num_frames": 2}, takes_masks=False, tells_depth=True,
        library=of_transformers("DINOv3ViTConfig", "DINOv3ViTModel", **PICTURE,
                                intermediate_size=64, num_register_tokens=3),
    ),
    "hf hiera": Family(
        spec="hf:", options={"num_frames": 2}, takes_masks=False, takes_other_sizes=False,
        layers=(0,), tells_depth=True, apart=r"pooler\.",
        library=of_transformers("HieraConfig", "HieraModel", embed_dim=8, image_size=[64, 64],
                                depths=[1, 1, 1, 1], num_heads=[1, 2, 4, 8]),
    ),
    "py": Family(spec="py:tests.encoders.families:tiny_own", layers=(0, 3)),
    "efficientnet_lite0": Family(
        spec="efficientnet_lite0", options={"num_frames": 2}, layers=(0,), takes_masks=False,
        has_norm=False,
    ),
    "digits_tiny": Family(spec="digits_tiny", layers=(0, 3)),
    "random": Family(spec="random:vit_digits", layers=(0, 3)),
    "pixel_mean": Family(spec="pixel_mean", layers=(0,), has_norm=False),
}  # fmt: skip

# Registered names that the sweeps reach otherwise, and why they need no family of their own.
NAMED = {
    "vidrop": "refuses every file",
    "torchhub": "runs the code of others, and is refused unless that is trusted",
    **dict.fromkeys(("vjepa_vitl16", "vjepa_vith16", "vjepa_vith16_384"), "vjepa of one size"),
    **dict.fromkeys(
        ("vjepa2_vitl16", "vjepa2_vith16", "vjepa2_vitg16", "vjepa2_vitg16_384"),
        "vjepa2 of one size",
    ),
    **dict.fromkeys(
        (
            "ijepa_in1k_vith14",
            "ijepa_in1k_vith16_448",
            "ijepa_in22k_vith14",
            "ijepa_in22k_vitg16",
        ),
        "ijepa of one size",
    ),
}
