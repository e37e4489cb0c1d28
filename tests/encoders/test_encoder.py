import hashlib
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import nn

from bench import registry
from bench.encoders.encoder import Encoder, open_encoder, weight_digest
from bench.errors import UsageError
from bench.types import Tokens
from tests.encoders.files import CHECKPOINT, HEADS, reference


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.b = nn.Parameter(torch.tensor([1.0, 2.0]))
        self.register_buffer("a", torch.tensor(3, dtype=torch.int64))


def test_digest_covers_names_types_shapes_and_bytes() -> None:
    state = hashlib.sha256()
    state.update(b"a\ttorch.int64\t()\n" + (3).to_bytes(8, "little"))
    state.update(b"b\ttorch.float32\t(2,)\n" + bytes.fromhex("0000803f00000040"))
    assert weight_digest(Two()) == state.hexdigest()


def test_digest_changes_with_one_bit_and_with_the_type() -> None:
    module = Two()
    digests = {weight_digest(module)}
    with torch.no_grad():
        module.b[1] = torch.nextafter(module.b[1], torch.tensor(3.0))
    digests.add(weight_digest(module))
    digests.add(weight_digest(module.double()))
    digests.add(weight_digest(module.bfloat16()))
    assert len(digests) == 4


def test_digest_does_not_depend_on_memory_layout() -> None:
    first, second = nn.Linear(3, 4), nn.Linear(3, 4)
    second.weight = nn.Parameter(first.weight.detach().T.contiguous().T)
    second.bias = first.bias
    assert not second.weight.is_contiguous()
    assert weight_digest(first) == weight_digest(second)


def test_forward_never_changes_the_digest() -> None:
    encoder = open_encoder(f"vjepa:{CHECKPOINT}", HEADS)
    before, clip = weight_digest(encoder), reference()["clip"]
    encoder(clip)
    encoder(clip, layers=(0, 2), keep=torch.zeros(2, 3, dtype=torch.int64))
    encoder(clip[..., :16, :24])
    assert weight_digest(encoder) == before


def test_network_that_does_not_know_norm_is_never_asked_and_refuses_to_do_without() -> None:
    class MeanColour(nn.Module):
        def forward(
            self,
            pixels: torch.Tensor,
            *,
            keep: torch.Tensor | None = None,
            layers: Sequence[int] | None = None,
        ) -> Tokens:
            return Tokens(layers=(pixels.mean((2, 3, 4)).unsqueeze(1),), grid=(1, 1, 1))

    spec = open_encoder("pixel_mean", {}).spec
    encoder = Encoder(MeanColour(), replace(spec, name="mean_colour"))
    assert encoder(torch.ones(2, 3, 4, 8, 8), norm=True).last.tolist() == [[[1.0] * 3]] * 2
    with pytest.raises(UsageError, match="mean_colour cannot skip its final norm"):
        encoder(torch.ones(2, 3, 4, 8, 8), norm=False)


def test_pixels_have_no_norm_to_leave_out() -> None:
    encoder, clip = open_encoder("pixel_mean", {}), torch.rand(1, 3, 8, 48, 48)
    assert torch.equal(encoder(clip, norm=False).last, encoder(clip).last)


def test_opened_encoder_is_frozen() -> None:
    encoder = open_encoder(f"vjepa:{CHECKPOINT}", HEADS)
    assert not encoder.training
    assert not any(p.requires_grad for p in encoder.parameters())
    assert not encoder(reference()["clip"]).last.requires_grad


def test_options_come_as_text_from_the_command_line() -> None:
    encoder = open_encoder(f"vjepa:{CHECKPOINT}", {"num_heads": "4", "image_size": "48"})
    assert encoder.spec.image_size == 48


def test_weights_given_twice_are_refused() -> None:
    with pytest.raises(UsageError, match="give one of the two"):
        open_encoder("random:vit_digits", {"weights": "vit_tiny"})
    assert open_encoder("random", {"weights": "vit_digits"}).spec.name == "random:vit_digits"


@pytest.mark.parametrize(
    ("spec", "options", "says"),
    [
        ("vjeppa:file", {}, "Did you mean 'vjepa'"),
        ("vjepa", {}, "needs the option 'weights'"),
        ("vjepa:x.pt", {"heads": 4}, "no option 'heads'"),
        ("pixel_mean:x", {}, "no option 'weights'"),
    ],
)
def test_spec_that_cannot_work_says_why(
    spec: str, options: dict[str, int | str], says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        open_encoder(spec, options)


def test_every_registered_encoder_has_a_describing_sentence() -> None:
    for entry in registry.entries("encoders"):
        assert entry.summary.endswith((".", ")")), entry.name
