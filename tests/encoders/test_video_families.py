"""Encoders of other families: parity with their own libraries, released names, refusals."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers.models.videomae.modeling_videomae import VideoMAEPreTrainedModel

from bench.encoders.encoder import Encoder, open_encoder, weight_digest
from bench.encoders.networks.positions import sincos_time_column_row, sinusoid_1d
from bench.errors import CheckpointError, UsageError

FRAMES, PIXELS, PATCH, WIDTH, DEPTH, HEADS = 4, 16, 8, 32, 2, 2
CLIP = {"num_frames": FRAMES, "image_size": PIXELS}
OPTIONS = {**CLIP, "num_heads": HEADS}
TOKENS = (FRAMES // 2) * (PIXELS // PATCH) ** 2


def drawn(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def pixels(frames: int = FRAMES, size: int = PIXELS, seed: int = 9) -> torch.Tensor:
    return drawn(seed, 2, 3, frames, size, size)


def shuffled_weights(network: VideoMAEPreTrainedModel, seed: int = 0) -> VideoMAEPreTrainedModel:
    """Give every parameter, biases and norms too, values that a lost one would show in."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2 + 0.05)
    return network.eval()


def saved(folder: Path, content: dict[str, Any], name: str = "file.pth") -> Path:
    torch.save(content, folder / name)
    return folder / name


# ------------------------------------------------------------------------------- released layouts
def norms(prefix: str, width: int) -> dict[str, tuple[int]]:
    return {f"{prefix}.weight": (width,), f"{prefix}.bias": (width,)}


def linear(prefix: str, out: int, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{prefix}.weight": (out, width), f"{prefix}.bias": (out,)}


def block(
    prefix: str, width: int, *, biases: str = "qv", hidden: int | None = None
) -> dict[str, tuple[int, ...]]:
    hidden = hidden or 4 * width
    qkv = {f"{prefix}.attn.qkv.weight": (3 * width, width)}
    separate = {f"{prefix}.attn.{letter}_bias": (width,) for letter in "qv"}
    whole = {f"{prefix}.attn.qkv.bias": (3 * width,)}
    return {
        **norms(f"{prefix}.norm1", width),
        **qkv,
        **(separate if biases == "qv" else whole),
        **linear(f"{prefix}.attn.proj", width, width),
        **norms(f"{prefix}.norm2", width),
        **linear(f"{prefix}.mlp.fc1", hidden, width),
        **linear(f"{prefix}.mlp.fc2", width, hidden),
    }


def blocks(prefix: str, depth: int, width: int, **options: Any) -> dict[str, tuple[int, ...]]:
    return {n: s for i in range(depth) for n, s in block(f"{prefix}.{i}", width, **options).items()}


def patches(prefix: str, width: int = WIDTH, patch: int = PATCH) -> dict[str, tuple[int, ...]]:
    return {f"{prefix}.weight": (width, 3, 2, patch, patch), f"{prefix}.bias": (width,)}


def filled(shapes: dict[str, tuple[int, ...]], seed: int = 1) -> dict[str, torch.Tensor]:
    return {name: drawn(seed + i, *shape) * 0.2 for i, (name, shape) in enumerate(shapes.items())}


def bare(
    width: int = WIDTH, depth: int = DEPTH, patch: int = PATCH, **options: Any
) -> dict[str, tuple[int, ...]]:
    return {
        **patches("patch_embed.proj", width, patch),
        **blocks("blocks", depth, width, **options),
    }


def videomae_pretrained() -> dict[str, torch.Tensor]:
    encoder = {**bare(), **norms("norm", WIDTH)}
    decoder = {**blocks("decoder.blocks", 1, 16), **norms("decoder.norm", 16)}
    return filled(
        {
            **{f"encoder.{name}": shape for name, shape in encoder.items()},
            **decoder,
            **linear("decoder.head", 2 * 3 * PATCH * PATCH, 16),
            "encoder_to_decoder.weight": (16, WIDTH),
            "mask_token": (1, 1, 16),
        }
    )


def videomae_tuned(**options: Any) -> dict[str, torch.Tensor]:
    width = options.get("width", WIDTH)
    return filled({**bare(**options), **norms("fc_norm", width), **linear("head", 5, width)})


def mvd_pretrained() -> dict[str, torch.Tensor]:
    shapes = {**bare(), **norms("norm", WIDTH)}
    for kind in ("img", "vid"):
        shapes |= {
            f"mask_token_{kind}": (1, 1, WIDTH),
            **linear(f"down_{kind}", WIDTH, WIDTH),
            **blocks(f"decoder_{kind}.blocks", 1, WIDTH),
            **norms(f"decoder_{kind}.norm", WIDTH),
            **linear(f"decoder_{kind}.head", 7, WIDTH),
        }
    table = sincos_time_column_row(WIDTH, (FRAMES // 2, PIXELS // PATCH, PIXELS // PATCH))[None]
    tables = dict.fromkeys(("pos_embed", "pos_embed_img", "pos_embed_vid"), table)
    return {**filled(shapes), **{name: value.clone() for name, value in tables.items()}}


def omnimae_file(*, pretrained: bool) -> dict[str, torch.Tensor]:
    shapes = {
        **patches("trunk.patch_embed.proj.1"),
        **blocks("trunk.blocks", DEPTH, WIDTH, biases="whole"),
        **norms("trunk.norm", WIDTH),
        **linear("head", 6, 16 if pretrained else WIDTH),
    }
    tensors = filled(shapes)
    tensors["trunk.pos_embed"] = sinusoid_1d(WIDTH, TOKENS)[None]
    if pretrained:
        tensors |= filled(
            {
                "trunk.mask_token": (1, WIDTH),
                "trunk.decoder.pos_embed": (1, TOKENS, 16),
                **linear("trunk.decoder.decoder_embed", 16, WIDTH),
                **norms("trunk.decoder.norm", 16),
                **blocks("trunk.decoder.decoder_blocks", 1, 16, biases="whole"),
            },
            seed=500,
        )
    return tensors


def vicmae_file(*, pretrained: bool) -> dict[str, torch.Tensor]:
    side = PIXELS // PATCH
    shapes = {
        "cls_token": (1, 1, WIDTH),
        "pos_embed": (1, 1 + side * side, WIDTH),
        "patch_embed.proj.weight": (WIDTH, 3, PATCH, PATCH),
        "patch_embed.proj.bias": (WIDTH,),
        **blocks("blocks", DEPTH, WIDTH, biases="whole"),
    }
    if not pretrained:
        return filled({**shapes, **norms("fc_norm", WIDTH), **linear("head", 5, WIDTH)})
    shapes |= {
        **norms("norm", WIDTH),
        **linear("decoder_embed", 16, WIDTH),
        "mask_token": (1, 1, 16),
        "decoder_pos_embed": (1, 1 + side * side, 16),
        **blocks("decoder_blocks", 1, 16, biases="whole"),
        **norms("decoder_norm", 16),
        **linear("decoder_pred", PATCH * PATCH * 3, 16),
        **linear("projector.0", 24, WIDTH),
        **norms("projector.1", 24),
        "projector.1.running_mean": (24,),
        "projector.1.running_var": (24,),
        **linear("projector.6", 8, 24),
    }
    return filled(shapes)


def batch_norm_counters(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What BatchNorm1d adds to a state dict: one whole number each."""
    return {**tensors, "projector.1.num_batches_tracked": torch.tensor(3)}


LAYOUTS = {
    "VideoMAE pretraining": ("videomae", lambda: {"model": videomae_pretrained(), "epoch": 1599}),
    "VideoMAE fine-tuned": ("videomae", lambda: {"module": videomae_tuned()}),
    "VideoMAE v2 on the hub": (
        "videomae",
        lambda: {f"model.{name}": t for name, t in videomae_tuned().items()},
    ),
    "compiled": (
        "videomae",
        lambda: {"model": {f"_orig_mod.{n}": t for n, t in videomae_tuned().items()}},
    ),
    "MVD pretraining": ("mvd", lambda: {"model": mvd_pretrained()}),
    "MVD fine-tuned": ("mvd", lambda: {"module": videomae_tuned()}),
    "OmniMAE pretraining": ("omnimae", lambda: omnimae_file(pretrained=True)),
    "OmniMAE fine-tuned": ("omnimae", lambda: omnimae_file(pretrained=False)),
    "ViC-MAE pretraining": ("vicmae", lambda: {"model": vicmae_file(pretrained=True)}),
    "ViC-MAE counters": (
        "vicmae",
        lambda: {"model": batch_norm_counters(vicmae_file(pretrained=True))},
    ),
    "ViC-MAE fine-tuned": ("vicmae", lambda: {"model": vicmae_file(pretrained=False)}),
}


def opened(family: str, content: dict[str, Any], folder: Path, **options: Any) -> Encoder:
    return open_encoder(f"{family}:{saved(folder, content)}", {**OPTIONS, **options})


@pytest.mark.parametrize(("family", "content"), LAYOUTS.values(), ids=LAYOUTS.keys())
def test_released_layout_loads_completely(
    family: str, content: Callable[..., Any], tmp_path: Path
) -> None:
    encoder = opened(family, content(), tmp_path)
    before = weight_digest(encoder)
    clip = pixels()
    tokens = encoder(clip)
    t, h, w = tokens.grid
    assert (t, h, w) == (FRAMES if family == "vicmae" else FRAMES // 2, 2, 2)
    assert tokens.last.shape == (2, t * h * w, WIDTH) and tokens.last.isfinite().all()
    assert not any(p.requires_grad for p in encoder.parameters())
    assert weight_digest(encoder) == before
    # a mask of all tokens in their order is no mask
    everything = torch.arange(t * h * w).expand(2, -1)
    torch.testing.assert_close(encoder(clip, keep=everything).last, tokens.last)
    assert len(encoder(clip, layers=[0, 1], norm=False).layers) == 2


@pytest.mark.parametrize(("family", "content"), LAYOUTS.values(), ids=LAYOUTS.keys())
def test_every_tensor_of_the_encoder_is_needed_and_named(
    family: str, content: Callable[..., Any], tmp_path: Path
) -> None:
    whole = content()
    state = next((v for v in whole.values() if isinstance(v, dict)), whole)
    spared = ("decoder", "fc_norm", "head", "mask_token", "down_", "projector", "encoder_to_")
    names = [n for n in state if not any(word in n for word in spared) and "pos_embed" not in n]
    for name in names[:: max(1, len(names) // 6)]:
        less = {n: t for n, t in state.items() if n != name}
        with pytest.raises(CheckpointError, match=r"missing|has no|q_bias|norm"):
            opened(family, less, tmp_path)


@pytest.mark.parametrize("family", ["videomae", "mvd", "omnimae", "vicmae"])
def test_unknown_tensor_is_refused_by_its_name(family: str, tmp_path: Path) -> None:
    content = {
        "videomae": videomae_tuned(),
        "mvd": mvd_pretrained(),
        "omnimae": omnimae_file(pretrained=False),
        "vicmae": vicmae_file(pretrained=True),
    }[family]
    prefix = "trunk." if family == "omnimae" else ""
    content[f"{prefix}blocks.0.gamma_1"] = torch.ones(WIDTH)
    with pytest.raises(CheckpointError, match=r"unexpected: blocks\.0\.gamma_1"):
        opened(family, content, tmp_path)


def test_left_out_parts_are_noted_and_tell_the_labels(tmp_path: Path) -> None:
    pretrained = opened("videomae", videomae_pretrained(), tmp_path)
    assert any("the decoder (19 tensors)" in note for note in pretrained.notes)
    assert pretrained.spec.card.labels == "none"
    tuned = opened("videomae", videomae_tuned(), tmp_path)
    assert any("the classifier (4 tensors)" in note for note in tuned.notes)
    assert tuned.spec.card.labels == "all"


def test_published_widths_need_no_options_and_the_giant_has_its_own_patch(tmp_path: Path) -> None:
    content = videomae_tuned(width=384, depth=12, hidden=16)
    encoder = open_encoder(f"videomae:{saved(tmp_path, content)}", CLIP)
    assert (encoder.spec.num_heads, encoder.spec.depth) == (6, 12)
    giant = videomae_tuned(width=1408, depth=1, patch=14, hidden=8)
    options = {"depth": 1, "num_frames": 2, "image_size": 28}
    spec = open_encoder(f"videomae:{saved(tmp_path, giant)}", options).spec
    assert (spec.num_heads, spec.patch_size) == (16, 14)


def test_short_file_of_a_published_width_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, videomae_tuned(width=384, depth=3, hidden=16))
    with pytest.raises(CheckpointError, match=r"3 blocks of width 384.*encoder\.depth=3"):
        open_encoder(f"videomae:{path}", CLIP)
    assert open_encoder(f"videomae:{path}", {**CLIP, "depth": 3}).spec.depth == 3


def test_options_of_training_in_a_released_pickle_are_read_without_code(tmp_path: Path) -> None:
    content = {"model": videomae_pretrained(), "args": argparse.Namespace(lr=1e-3, name="x")}
    assert opened("videomae", content, tmp_path).spec.depth == DEPTH


def test_half_precision_is_widened_and_noted(tmp_path: Path) -> None:
    for family, content in (
        ("videomae", videomae_pretrained()),
        ("mvd", mvd_pretrained()),
        ("omnimae", omnimae_file(pretrained=True)),
    ):
        half = {name: tensor.half() for name, tensor in content.items()}
        encoder = opened(family, half, tmp_path)
        assert any("stored as float16" in note for note in encoder.notes)
        assert encoder(pixels()).last.dtype == torch.float32


# --------------------------------------------------------------------------------- what is computed
def plain_tokens(
    tensors: dict[str, torch.Tensor], clip: torch.Tensor, table: torch.Tensor, *, norm: bool
) -> torch.Tensor:
    """The released forward pass in plain PyTorch: separate biases, no bias of keys."""
    kernel = tensors["patch_embed.proj.weight"]
    x = torch.nn.functional.conv3d(
        clip, kernel, tensors["patch_embed.proj.bias"], stride=kernel.shape[2:]
    )
    x = x.flatten(2).transpose(1, 2) + table

    def normed(x: torch.Tensor, name: str) -> torch.Tensor:
        return torch.nn.functional.layer_norm(
            x, (WIDTH,), tensors[f"{name}.weight"], tensors[f"{name}.bias"], 1e-6
        )

    for i in range(DEPTH):
        base = f"blocks.{i}"
        bias = tensors.get(f"{base}.attn.qkv.bias")
        if bias is None:
            q, v = tensors[f"{base}.attn.q_bias"], tensors[f"{base}.attn.v_bias"]
            bias = torch.cat([q, torch.zeros_like(v), v])
        y = normed(x, f"{base}.norm1") @ tensors[f"{base}.attn.qkv.weight"].T + bias
        q, k, v = y.unflatten(-1, (3, HEADS, WIDTH // HEADS)).permute(2, 0, 3, 1, 4)
        scores = (q @ k.transpose(-1, -2)) / (WIDTH // HEADS) ** 0.5
        y = (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)
        x = x + y @ tensors[f"{base}.attn.proj.weight"].T + tensors[f"{base}.attn.proj.bias"]
        y = normed(x, f"{base}.norm2") @ tensors[f"{base}.mlp.fc1.weight"].T
        y = torch.nn.functional.gelu(y + tensors[f"{base}.mlp.fc1.bias"])
        x = x + y @ tensors[f"{base}.mlp.fc2.weight"].T + tensors[f"{base}.mlp.fc2.bias"]
    return normed(x, "norm") if norm else x


def one_row_table(tokens: int, width: int = WIDTH) -> torch.Tensor:
    """VideoMAE's table written out: position over 10000^(2*(j//2)/width), sines at even j."""
    angle = [[p / 10000 ** (2 * (j // 2) / width) for j in range(width)] for p in range(tokens)]
    angle = np.array(angle)
    angle[:, 0::2], angle[:, 1::2] = np.sin(angle[:, 0::2]), np.cos(angle[:, 1::2])
    return torch.tensor(angle, dtype=torch.float32)


def three_axes_table(t: int, h: int, w: int, width: int = WIDTH) -> torch.Tensor:
    """MVD's table written out: a quarter time, then three eighths column, three eighths row."""

    def code(position: int, channels: int) -> list[float]:
        half = channels // 2
        angles = [position / 10000 ** (k / half) for k in range(half)]
        return [*np.sin(angles), *np.cos(angles)]

    rows = [
        code(i, width // 4) + code(x, 3 * width // 8) + code(y, 3 * width // 8)
        for i in range(t)
        for y in range(h)
        for x in range(w)
    ]
    return torch.tensor(rows, dtype=torch.float32)


def test_tables_are_those_written_out() -> None:
    torch.testing.assert_close(sinusoid_1d(32, 40), one_row_table(40), atol=1e-6, rtol=0)
    table = sincos_time_column_row(32, (2, 3, 4))
    torch.testing.assert_close(table, three_axes_table(2, 3, 4), atol=1e-6, rtol=0)


def test_pretrained_videomae_tokens_are_those_of_the_released_forward_pass(tmp_path: Path) -> None:
    content = videomae_pretrained()
    inner = {n.removeprefix("encoder."): t for n, t in content.items() if "encoder." in n}
    expected = plain_tokens(inner, pixels(), one_row_table(TOKENS), norm=True)
    tokens = opened("videomae", content, tmp_path)(pixels()).last
    torch.testing.assert_close(tokens, expected, atol=1e-5, rtol=1e-5)


def test_fine_tuned_files_give_tokens_without_norm_and_the_family_decides_the_table(
    tmp_path: Path,
) -> None:
    content = videomae_tuned()
    for family, table in (
        ("videomae", one_row_table(TOKENS)),
        ("mvd", three_axes_table(FRAMES // 2, 2, 2)),
    ):
        expected = plain_tokens(content, pixels(), table, norm=False)
        encoder = opened(family, content, tmp_path)
        torch.testing.assert_close(encoder(pixels()).last, expected, atol=1e-5, rtol=1e-5)
        assert torch.equal(encoder(pixels()).last, encoder(pixels(), norm=False).last)


def test_omnimae_tokens_and_the_first_moment_of_a_still(tmp_path: Path) -> None:
    content = omnimae_file(pretrained=True)
    encoder = opened("omnimae", content, tmp_path)
    names = {n.removeprefix("trunk."): t for n, t in content.items()}
    for part in ("weight", "bias"):
        names[f"patch_embed.proj.{part}"] = names[f"patch_embed.proj.1.{part}"]
    expected = plain_tokens(names, pixels(), one_row_table(TOKENS), norm=True)
    torch.testing.assert_close(encoder(pixels()).last, expected, atol=1e-5, rtol=1e-5)
    assert encoder.spec.still_frames == 2
    still = pixels(frames=1).expand(-1, -1, 2, -1, -1)
    expected = plain_tokens(names, still, one_row_table(TOKENS)[: TOKENS // 2], norm=True)
    torch.testing.assert_close(encoder(still).last, expected, atol=1e-5, rtol=1e-5)


def test_stored_table_tells_the_clip_and_another_one_is_refused(tmp_path: Path) -> None:
    # 8 tokens: one moment of no square, two moments of 2x2, or eight of one place
    encoder = open_encoder(f"mvd:{saved(tmp_path, mvd_pretrained())}", {"num_heads": HEADS})
    assert (encoder.spec.num_frames, encoder.spec.image_size) == (FRAMES, PIXELS)
    learned = {**mvd_pretrained(), "pos_embed": drawn(3, 1, TOKENS, WIDTH)}
    with pytest.raises(CheckpointError, match="learned tables are not supported"):
        opened("mvd", learned, tmp_path)
    path = saved(tmp_path, omnimae_file(pretrained=True))
    with pytest.raises(CheckpointError, match=r"several clip sizes.*num_frames=4.*num_frames=16"):
        open_encoder(f"omnimae:{path}", {"num_heads": HEADS})


def test_vicmae_frames_are_encoded_one_by_one_as_timm_does(tmp_path: Path) -> None:
    from timm.models.vision_transformer import VisionTransformer

    content = vicmae_file(pretrained=True)
    encoder = opened("vicmae", content, tmp_path)
    network = VisionTransformer(
        img_size=PIXELS, patch_size=PATCH, embed_dim=WIDTH, depth=DEPTH, num_heads=HEADS,
        num_classes=0,
    ).eval()  # fmt: skip
    known = network.state_dict().keys()
    network.load_state_dict({n: t for n, t in content.items() if n in known}, strict=True)
    clip = pixels()
    expected = torch.stack(
        [network.forward_features(clip[:, :, i]) for i in range(FRAMES)], dim=1
    ).detach()
    tokens = encoder(clip)
    assert encoder.spec.takes == "image" and encoder.spec.num_prefix == 1
    torch.testing.assert_close(tokens.last, expected[:, :, 1:].flatten(1, 2), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(tokens.prefix[0], expected[:, :, 0], atol=1e-5, rtol=1e-5)


# -------------------------------------------------------------------- parity with other libraries
def hub_model(kind: str = "VideoMAEModel", **changes: Any) -> VideoMAEPreTrainedModel:
    transformers = pytest.importorskip("transformers")
    config = transformers.VideoMAEConfig(
        image_size=PIXELS, patch_size=PATCH, num_frames=FRAMES, hidden_size=WIDTH,
        num_hidden_layers=DEPTH, num_attention_heads=HEADS, intermediate_size=48,
        decoder_num_hidden_layers=1, decoder_hidden_size=16, decoder_num_attention_heads=1,
        decoder_intermediate_size=24, **changes,
    )  # fmt: skip
    return shuffled_weights(getattr(transformers, kind)(config))


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("VideoMAEModel", {"use_mean_pooling": False}),
        ("VideoMAEModel", {"use_mean_pooling": True}),
        ("VideoMAEForPreTraining", {"use_mean_pooling": False}),
        ("VideoMAEForVideoClassification", {"use_mean_pooling": True}),
        ("VideoMAEForVideoClassification", {"layer_norm_eps": 0.01}),
    ],
)
def test_videomae_of_transformers_gives_the_same_tokens(
    kind: str, changes: dict[str, bool | float], tmp_path: Path
) -> None:
    network = hub_model(kind, **changes)
    network.save_pretrained(tmp_path)
    clip = pixels()
    with torch.no_grad():
        inner = getattr(network, "videomae", network)
        expected = inner(clip.transpose(1, 2)).last_hidden_state
    for weights in (tmp_path, tmp_path / "model.safetensors"):
        encoder = open_encoder(f"videomae:{weights}", {})
        assert (encoder.spec.num_frames, encoder.spec.image_size) == (FRAMES, PIXELS)
        torch.testing.assert_close(encoder(clip).last, expected, atol=1e-5, rtol=1e-5)


def test_hub_names_of_newer_versions_and_a_missing_bias(tmp_path: Path) -> None:
    hub_model("VideoMAEForVideoClassification").save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    first = open_encoder(f"videomae:{tmp_path}", {})
    newer = {
        n.replace("q_bias", "query.bias").replace("v_bias", "value.bias"): t
        for n, t in tensors.items()
    }
    save_file(newer, tmp_path / "model.safetensors")
    assert weight_digest(open_encoder(f"videomae:{tmp_path}", {})) == weight_digest(first)
    save_file(
        {n: t for n, t in tensors.items() if "v_bias" not in n}, tmp_path / "model.safetensors"
    )
    with pytest.raises(
        CheckpointError, match=r"missing: blocks\.0\.attn\.qkv\.bias.*unexpected.*q_bias"
    ):
        open_encoder(f"videomae:{tmp_path}", {})


def test_epsilon_of_the_norms_counts_in_the_digest(tmp_path: Path) -> None:
    hub_model("VideoMAEForVideoClassification").save_pretrained(tmp_path)
    first = weight_digest(open_encoder(f"videomae:{tmp_path}", {}))
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "layer_norm_eps": 1e-6}))
    assert weight_digest(open_encoder(f"videomae:{tmp_path}", {})) != first


# ------------------------------------------------------------------------------------------- Hiera
HIERA = {
    "embed_dim": 16,
    "num_heads": 1,
    "stages": (1, 1, 2, 2),
    "input_size": (4, 64, 64),
    "q_stride": (1, 2, 2),
    "mask_unit_size": (1, 8, 8),
    "patch_kernel": (3, 7, 7),
    "patch_stride": (2, 4, 4),
    "patch_padding": (1, 3, 3),
    "sep_pos_embed": True,
}


@pytest.mark.parametrize("kind", ["Hiera", "MaskedAutoencoderHiera"])
def test_hiera_gives_the_tokens_of_its_package(kind: str, tmp_path: Path) -> None:
    hiera = pytest.importorskip("hiera")
    from hiera.hiera_mae import MaskedAutoencoderHiera

    torch.manual_seed(0)
    made = {"Hiera": hiera.Hiera, "MaskedAutoencoderHiera": MaskedAutoencoderHiera}[kind]
    network = shuffled_weights(made(**HIERA))
    path = saved(tmp_path, {"model_state": network.state_dict()})
    encoder = open_encoder(f"hiera:{path}", {"num_heads": 1})
    clip = pixels(4, 64)
    reference = network
    if kind != "Hiera":  # the package runs pretraining files as encoders the same way
        reference = hiera.Hiera(**HIERA).eval()
        reference.load_state_dict(network.state_dict(), strict=False)
    with torch.no_grad():
        _, stages = reference(clip, return_intermediates=True)
    tokens = encoder(clip)
    assert tokens.grid == (2, 2, 2) and encoder.spec.width == 128
    assert (encoder.spec.patch_size, encoder.spec.tubelet_size) == (32, 2)
    torch.testing.assert_close(tokens.last, stages[-1].flatten(1, 3), atol=1e-5, rtol=1e-4)
    assert len(encoder(clip, layers=[4, 5]).layers) == 2
    with pytest.raises(UsageError, match="blocks from 4 to 5"):
        encoder(clip, layers=[3, 5])
    with pytest.raises(UsageError, match="position tables"):
        encoder(pixels(2, 64))
    with pytest.raises(UsageError, match="leave keep"):
        encoder(clip, keep=torch.zeros(2, 1, dtype=torch.int64))


def test_hiera_file_is_loaded_whole_or_refused(tmp_path: Path) -> None:
    hiera = pytest.importorskip("hiera")
    state = hiera.Hiera(**HIERA).state_dict()
    for less, says in (
        ("blocks.3.attn.qkv.bias", r"missing: blocks\.3\.attn\.qkv\.bias"),
        ("pos_embed_temporal", "missing pos_embed_temporal"),
        ("blocks.2.proj.weight", r"new stages at \[1, 4\]"),
    ):
        path = saved(tmp_path, {n: t for n, t in state.items() if n != less})
        with pytest.raises(CheckpointError, match=says):
            open_encoder(f"hiera:{path}", {"num_heads": 1})
    image = hiera.Hiera(embed_dim=16, stages=(1, 1, 1, 1), input_size=(64, 64)).state_dict()
    with pytest.raises(CheckpointError, match="is a Hiera for images"):
        open_encoder(f"hiera:{saved(tmp_path, image)}", {"num_heads": 1})
    with pytest.raises(CheckpointError, match=r"encoder\.num_heads=N"):
        open_encoder(f"hiera:{saved(tmp_path, state)}", {})


# ---------------------------------------------------------------------------------------- refusals
REFUSED = {
    "MVD pretraining as VideoMAE": ("videomae", mvd_pretrained, "open it as mvd:FILE"),
    "VideoMAE pretraining as MVD": ("mvd", videomae_pretrained, "open it as videomae:FILE"),
    "VideoMAE as OmniMAE": ("omnimae", videomae_tuned, "open VideoMAE as videomae:FILE"),
    "OmniMAE as VideoMAE": (
        "videomae",
        lambda: omnimae_file(pretrained=True),
        r"it has no patch_embed\.proj\.weight",
    ),
    "decoder alone": (
        "videomae",
        lambda: {n: t for n, t in videomae_pretrained().items() if n.startswith("decoder.")},
        "has only the decoder",
    ),
    "V-JEPA": ("videomae", lambda: {"target_encoder": videomae_tuned()}, "open it as vjepa:FILE"),
    "image patches": (
        "videomae",
        lambda: {
            **videomae_tuned(),
            "patch_embed.proj.weight": torch.zeros(WIDTH, 3, PATCH, PATCH),
        },
        "it is for images",
    ),
    "MAE as ViC-MAE": (
        "vicmae",
        lambda: {n: t for n, t in vicmae_file(pretrained=True).items() if "projector" not in n},
        "it is an MAE file",
    ),
    "two networks in one": (
        "videomae",
        lambda: {**videomae_tuned(), "module.head.bias": torch.zeros(5)},
        r"'head\.bias' twice",
    ),
    "no tensors": ("videomae", lambda: {"epoch": 3}, "epoch hold no tensors"),
    "another ViT without a table": (
        "videomae",
        lambda: filled({**bare(biases="whole"), **norms("norm", WIDTH)}),
        r"fused biases \(blocks\.0\.attn\.qkv\.bias",
    ),
    "neither norm": (
        "videomae",
        lambda: {n: t for n, t in videomae_tuned().items() if "fc_norm" not in n},
        r"missing: norm\.bias, norm\.weight",
    ),
    "lost block": (
        "videomae",
        lambda: {n: t for n, t in videomae_tuned().items() if "blocks.0" not in n},
        r"it has no blocks\.0",
    ),
    "cosine attention": (
        "videomae",
        lambda: {**videomae_tuned(), "blocks.1.attn.scale": torch.ones(HEADS, 1, 1)},
        r"unexpected: blocks\.1\.attn\.scale",
    ),
}


@pytest.mark.parametrize(("family", "content", "says"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_not_this_family_is_refused(
    family: str, content: Callable[..., Any], says: str, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=says):
        opened(family, content(), tmp_path)


def test_options_that_contradict_the_hub_file_are_refused(tmp_path: Path) -> None:
    hub_model("VideoMAEForVideoClassification").save_pretrained(tmp_path)
    for options, says in (
        ({"num_heads": 4}, "num_heads 2, not 4"),
        ({"depth": 3}, "has depth 2, not 3 as requested"),
    ):
        with pytest.raises(CheckpointError, match=says):
            open_encoder(f"videomae:{tmp_path}", options)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"hidden_act": "relu"}, "hidden_act 'relu'.*hf:FOLDER"),
        ({"image_size": [32, 48]}, "square"),
    ],
)
def test_hub_file_of_a_network_that_its_tensors_do_not_tell_is_refused(
    changes: dict[str, str | list[int]], says: str, tmp_path: Path
) -> None:
    hub_model("VideoMAEModel").save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, **changes}))
    with pytest.raises(CheckpointError, match=says):
        open_encoder(f"videomae:{tmp_path}", {})


def test_family_without_a_published_layout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"not published.*videomae:FILE or vjepa:FILE"):
        open_encoder(f"vidrop:{saved(tmp_path, videomae_tuned())}", {})
