"""What a clip's features are does not depend on the clips beside it; readouts worked by hand."""

from types import SimpleNamespace

import pytest
import torch

from bench.errors import UsageError
from bench.features.encode import encode_clips, resolve_precision
from bench.features.readout import ClipReadout, read_out
from tests.features.small import RECIPE, tiny_encoder

CPU = torch.device("cpu")


def clips(num: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(num, 3, 4, 16, 16, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("num", [1, 4, 9])
def test_any_number_of_clips_is_encoded_in_calls_of_one_size(num: int) -> None:
    encoder, shapes = tiny_encoder(), []
    encoder.network.register_forward_pre_hook(lambda _, inputs: shapes.append(inputs[0].shape))
    tokens = encode_clips(encoder, clips(num), CPU, "fp32")
    assert [shape[0] for shape in shapes] == [4] * -(-num // 4)
    assert tokens.grid == (2, 2, 2) and tokens.last.shape == (num, 8, 12)
    torch.testing.assert_close(tokens.last, encoder(clips(num)).last, rtol=0, atol=1e-5)


def test_neighbours_in_a_call_change_no_bit() -> None:
    encoder, first, other = tiny_encoder(), clips(4), clips(4, seed=1)
    mixed = torch.cat([other[:2], first[2:3], other[3:]])
    alone = encode_clips(encoder, first, CPU, "fp32").last[2]
    assert torch.equal(encode_clips(encoder, mixed, CPU, "fp32").last[2], alone)


def test_layers_are_those_of_the_encoder() -> None:
    encoder = tiny_encoder()
    tokens = encode_clips(encoder, clips(5), CPU, "fp32", layers=(0, 1))
    assert len(tokens.layers) == 2 and tokens.layers[0].shape == (5, 8, 12)


def test_bf16_is_bf16() -> None:
    encoder, dtypes = tiny_encoder(), []
    block = encoder.network.blocks[0].attn.qkv
    block.register_forward_hook(lambda *seen: dtypes.append(seen[2].dtype))
    for precision in ("fp32", "bf16"):
        encode_clips(encoder, clips(1), CPU, precision)
    assert dtypes == [torch.float32, torch.bfloat16]


def test_precision_is_resolved_by_the_device() -> None:
    assert resolve_precision("auto", CPU) == "fp32"
    assert resolve_precision("bf16", CPU) == "bf16"
    with pytest.raises(UsageError, match="unknown precision 'half'"):
        resolve_precision("half", CPU)


@pytest.mark.gpu
def test_gpu_and_cpu_agree_in_fp32() -> None:
    encoder, cuda = tiny_encoder(), torch.device("cuda")
    on_cpu = encode_clips(encoder, clips(5), CPU, "fp32").last
    on_gpu = encode_clips(encoder.to(cuda), clips(5), cuda, "fp32").last
    torch.testing.assert_close(on_gpu.cpu(), on_cpu, rtol=0, atol=1e-5)


def test_readouts_by_hand() -> None:
    # Two views of two clips of two tokens, width 1; clip c of view v holds 10v + 4c + (0, 1).
    tokens = torch.tensor([[0, 1], [4, 5], [10, 11], [14, 15]], dtype=torch.float32)[..., None]
    vector = read_out(tokens, "vector", num_views=2, num_clips=2)
    assert vector.squeeze(-1).tolist() == [[0.5, 4.5], [10.5, 14.5]]
    joined = read_out(tokens, "tokens", num_views=2, num_clips=2)
    assert joined.squeeze(-1).tolist() == [[0, 1, 4, 5], [10, 11, 14, 15]]


def test_shape_of_a_row_is_that_of_what_is_read_out() -> None:
    encoder = tiny_encoder()
    tokens = encode_clips(encoder, clips(4), CPU, "fp32", layers=(0, 1))  # two views of two clips
    parts = ClipReadout(reads=("vector", "tokens"), num_views=2, num_clips=2, layers=(0, 1))
    _, found = parts.rows(SimpleNamespace(row=0), tokens.layers)
    for reads, x in found.items():
        assert parts.shape(encoder.spec, RECIPE, reads) == x[0].shape
