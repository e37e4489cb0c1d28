import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn
from torch.nn import functional

from bench.encoders.encoder import Encoder, num_trainable, open_encoder
from bench.encoders.networks.sizes import VIT_SIZES
from bench.encoders.networks.video_vit import VideoViT, VitArchitecture, fresh_vit, initialise
from bench.errors import UsageError
from tests.encoders.files import CHECKPOINT, HEADS, bare, reference

IO = reference()
TINY = VitArchitecture(width=28, depth=3, num_heads=4, patch_size=8, num_frames=8, image_size=32)
ATOL = 1e-5


def close(made: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(made, expected, rtol=0, atol=ATOL)


@pytest.fixture(scope="module")
def target() -> Encoder:
    return open_encoder(f"vjepa:{CHECKPOINT}", HEADS)


@pytest.fixture(scope="module")
def online() -> Encoder:
    return open_encoder(f"vjepa:{CHECKPOINT}", {**HEADS, "key": "encoder"})


def test_tokens_equal_the_released_implementation(target: Encoder, online: Encoder) -> None:
    close(target(IO["clip"]).last, IO["tokens_target"])
    close(online(IO["clip"]).last, IO["tokens_encoder"])
    assert target(IO["clip"]).grid == (4, 4, 4)


@pytest.mark.parametrize("number", [0, 1])
def test_context_tokens_under_a_mask_equal_the_released_implementation(
    online: Encoder, number: int
) -> None:
    tokens = online(IO["clip"], keep=IO[f"mask_enc_{number}"])
    close(tokens.last, IO[f"ctx_tokens_{number}"])
    assert tokens.grid == (4, 4, 4)


def test_mask_indices_need_not_be_sorted(target: Encoder) -> None:
    made = target(IO["clip"], keep=IO["mask_free"]).last
    close(made, IO["tokens_target_mask_free"])


def test_keeping_every_token_in_another_order_permutes_the_output(target: Encoder) -> None:
    order = torch.randperm(64, generator=torch.Generator().manual_seed(0)).expand(2, -1)
    whole = target(IO["clip"]).last
    close(target(IO["clip"], keep=order).last, whole[:, order[0]])


def test_other_clip_size_interpolates_the_table_as_released(target: Encoder) -> None:
    tokens = target(IO["clip_interp"])
    assert tokens.grid == (6, 3, 5)
    close(tokens.last, IO["tokens_target_interp"])
    close(target.network.positions((6, 3, 5)), IO["pos_embed_interp"])


def test_encoder_opened_at_another_size_has_a_fresh_table(target: Encoder) -> None:
    other = open_encoder(f"vjepa:{CHECKPOINT}", {**HEADS, "num_frames": 4, "image_size": 48})
    close(other(IO["clip_res48_f4"]).last, IO["tokens_target_res48_f4"])
    assert (other.spec.num_frames, other.spec.image_size) == (4, 48)
    assert "rebuilt for 4 frames at 48 pixels" in other.notes[0]
    assert target.notes == ()


class GivenTokens(nn.Module):
    """Stands in for timm's patch embedding: the tokens are computed already."""

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return tokens


def as_timm(vit: VideoViT) -> VisionTransformer:
    model = VisionTransformer(
        img_size=32, patch_size=4, embed_dim=28, depth=3, num_heads=4, num_classes=0,
        class_token=False, global_pool="", norm_layer=lambda d, **kw: nn.LayerNorm(d, eps=1e-6),
    )  # fmt: skip
    own = vit.state_dict()
    state = {n: own.get(n, torch.empty(0)) for n in model.state_dict() if "patch_embed" not in n}
    model.patch_embed = GivenTokens()
    model.load_state_dict(state)
    return model.eval()


def test_blocks_and_taps_are_bit_equal_to_timm(target: Encoder) -> None:
    vit, timm_vit = target.network, as_timm(target.network)
    with torch.no_grad():
        embedded = vit.patch_embed(IO["clip"])
        whole = timm_vit.forward_features(embedded)
        x, taps = embedded + vit.pos_embed, []
        for block in timm_vit.blocks:
            x = block(x)
            taps.append(timm_vit.norm(x))
    assert torch.equal(target(IO["clip"]).last, whole)
    made = target(IO["clip"], layers=(0, 1, 2)).layers
    assert all(torch.equal(a, b) for a, b in zip(made, taps, strict=True))


def plainly(
    state: dict[str, torch.Tensor], clip: torch.Tensor, layers: tuple[int, ...]
) -> list[torch.Tensor]:
    """The encoder written out in double precision: tubelets by hand, explicit softmax."""
    state = {name: tensor.double() for name, tensor in state.items()}
    tubelets = clip.double().unfold(2, 2, 2).unfold(3, 8, 8).unfold(4, 8, 8)
    flat = tubelets.permute(0, 2, 3, 4, 1, 5, 6, 7).reshape(clip.shape[0], 64, -1)
    x = flat @ state["patch_embed.proj.weight"].flatten(1).T + state["patch_embed.proj.bias"]
    x = x + state["pos_embed"]

    def linear(name: str, y: torch.Tensor) -> torch.Tensor:
        return y @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    def norm(name: str, y: torch.Tensor) -> torch.Tensor:
        y = y - y.mean(-1, keepdim=True)
        y = y / (y.square().mean(-1, keepdim=True) + 1e-6).sqrt()
        return y * state[f"{name}.weight"] + state[f"{name}.bias"]

    out = []
    for i in range(3):
        qkv = linear(f"blocks.{i}.attn.qkv", norm(f"blocks.{i}.norm1", x))
        q, k, v = (part.unflatten(-1, (4, 7)).transpose(1, 2) for part in qkv.chunk(3, dim=-1))
        weights = torch.softmax(q @ k.mT / 7**0.5, dim=-1)
        x = x + linear(f"blocks.{i}.attn.proj", (weights @ v).transpose(1, 2).flatten(2))
        hidden = linear(f"blocks.{i}.mlp.fc1", norm(f"blocks.{i}.norm2", x))
        gelu = hidden * 0.5 * (1 + torch.erf(hidden / 2**0.5))
        x = x + linear(f"blocks.{i}.mlp.fc2", gelu)
        if i in layers:
            out.append(norm("norm", x))
    return out


@pytest.mark.parametrize("layers", [(2,), (0, 2), (0, 1), (1,)])
def test_tapped_layers_equal_an_explicit_double_precision_forward(
    target: Encoder, layers: tuple[int, ...]
) -> None:
    made = target(IO["clip"], layers=layers).layers
    expected = plainly(bare(), IO["clip"], layers)
    assert len(made) == len(layers)
    for a, b in zip(made, expected, strict=True):
        close(a.double(), b)


def test_without_norm_only_the_last_block_is_normed(target: Encoder) -> None:
    normed = target(IO["clip"], layers=(0, 1, 2)).layers
    plain = target(IO["clip"], layers=(0, 1, 2), norm=False).layers
    assert torch.equal(plain[2], normed[2])
    for tap in (0, 1):
        assert not torch.allclose(plain[tap], normed[tap], atol=1e-2)
        assert torch.equal(target.network.norm(plain[tap]), normed[tap])
    [alone] = target(IO["clip"], layers=(1,), norm=False).layers
    assert torch.equal(alone, plain[1])


@pytest.mark.parametrize("layers", [(), (3,), (-1,), (2, 0), (1, 1)])
def test_layers_that_do_not_exist_or_descend_are_refused(
    target: Encoder, layers: tuple[int, ...]
) -> None:
    with pytest.raises(UsageError, match="blocks from 0 to 2"):
        target(IO["clip"], layers=layers)


@pytest.mark.parametrize("shape", [(2, 3, 7, 32, 32), (2, 3, 8, 30, 32), (3, 8, 32, 32)])
def test_clip_that_patches_do_not_divide_is_refused(
    target: Encoder, shape: tuple[int, ...]
) -> None:
    with pytest.raises(UsageError, match=r"cannot be encoded"):
        target(torch.zeros(shape))


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("vit_tiny", 5.63), ("vit_small", 21.88), ("vit_base", 86.24), ("vit_large", 303.89),
        ("vit_huge", 631.65), ("vit_giant", 1012.17),
    ],
)  # fmt: skip
def test_sizes_have_the_published_number_of_parameters(name: str, millions: float) -> None:
    with torch.device("meta"):
        network = VideoViT(VIT_SIZES[name])
    assert round(num_trainable(network) / 1e6, 2) == millions


def test_gigantic_keeps_the_released_mlp_width() -> None:
    assert VIT_SIZES["vit_gigantic"].mlp_hidden == 6656
    assert VIT_SIZES["vit_giant"].mlp_hidden == 6144


@pytest.mark.parametrize("change", [{"num_heads": 5}, {"num_frames": 7}, {"image_size": 50}])
def test_architecture_that_does_not_divide_is_refused(change: dict[str, int]) -> None:
    with pytest.raises(UsageError, match=next(iter(change))):
        VitArchitecture(**{"width": 96, "depth": 1, "num_heads": 3, **change})


def test_training_reaches_every_parameter_and_not_the_table() -> None:
    vit = fresh_vit(TINY, seed=0)
    vit(torch.randn(1, 3, 8, 32, 32)).last.square().mean().backward()
    assert all(p.requires_grad and p.grad is not None for p in vit.parameters())
    assert "pos_embed" not in dict(vit.named_parameters())
    assert "pos_embed" in vit.state_dict()


def test_fresh_weights_depend_on_the_seed_alone() -> None:
    before = torch.get_rng_state()
    first = fresh_vit(TINY, seed=3).state_dict()
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(99)
    again, other = fresh_vit(TINY, seed=3).state_dict(), fresh_vit(TINY, seed=4).state_dict()
    assert all(torch.equal(first[n], again[n]) for n in first)
    assert not torch.equal(first["blocks.1.mlp.fc2.weight"], other["blocks.1.mlp.fc2.weight"])


def test_initialisation_is_normal_002_without_depth_rescaling() -> None:
    vit = fresh_vit(VIT_SIZES["vit_digits"], seed=0)
    initialise(vit, torch.Generator().manual_seed(5))
    for name, tensor in vit.state_dict().items():
        if name.endswith("bias"):
            assert not tensor.any(), name
        elif "norm" in name:
            assert (tensor == 1).all(), name
        elif name != "pos_embed":
            assert tensor.std().item() == pytest.approx(0.02, rel=0.05), name


def test_interpolation_keeps_the_row_that_a_scale_factor_would_round_away() -> None:
    vit = fresh_vit(TINY, seed=0)
    for side in range(1, 60):
        assert vit.positions((4, side, 4)).shape == (1, 16 * side, 28)


def test_interpolated_positions_equal_torch_by_scale_factor() -> None:
    vit = fresh_vit(TINY, seed=0)
    volume = vit.pos_embed.reshape(1, 4, 4, 4, 28).permute(0, 4, 1, 2, 3)
    by_factor = functional.interpolate(
        volume, scale_factor=(0.5, 1.5, 2.0), mode="trilinear", align_corners=False
    )
    close(vit.positions((2, 6, 8)), by_factor.permute(0, 2, 3, 4, 1).flatten(1, 3))
