"""Encoders of one's own by their function, and models of torch.hub only on trust."""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.config import RunConfig
from bench.encoders.encoder import open_encoder
from bench.errors import CheckpointError, UsageError
from bench.preflight.settle import settled
from tests.commands import Bench, Records

MODULE = """
import torch
from bench.encoders.networks.adapt import FrameByFrame
from bench.encoders.encoder import Encoder
from bench.types import EncoderSpec, Tokens


class Grey(torch.nn.Module):
    def forward(self, images, *, keep=None, layers=None):
        tokens = torch.nn.functional.avg_pool2d(images, 4).flatten(2).transpose(1, 2)
        return Tokens(layers=(tokens,), grid=(1, images.shape[2] // 4, images.shape[3] // 4))


def grey(*, image_size: int = 8, num_frames: int = 2) -> Encoder:
    spec = EncoderSpec(
        name="grey", width=3, depth=1, num_heads=1, num_frames=num_frames, image_size=image_size,
        patch_size=4, tubelet_size=1, source="mine", takes="image",
    )
    return Encoder(FrameByFrame(Grey(), spec), spec)


def needs_size(*, image_size: int) -> Encoder:
    return grey(image_size=image_size)


def nothing() -> None:
    return None


def positional(size: int) -> None:
    return None
"""
HUB = """
import torch

class Tiny(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embed_dim, self.patch_size, self.num_heads = 6, 4, 2
        self.proj = torch.nn.Linear(48, 6)
        self.blocks = torch.nn.ModuleList(torch.nn.Linear(6, 6) for _ in range(2))

    def get_intermediate_layers(self, x, n=1, reshape=False, return_class_token=False, norm=True):
        cut = torch.nn.functional.unfold(x, 4, stride=4).transpose(1, 2)
        x, made = self.proj(cut), []
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number in n:
                made.append((x, x.mean(1)))
        return tuple(made)

def tiny():
    torch.manual_seed(0)
    return Tiny()

def other():
    return torch.nn.Linear(2, 2)
"""


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A module `my_lab.encoders` that can be imported."""
    (tmp_path / "my_lab").mkdir()
    (tmp_path / "my_lab" / "__init__.py").write_text("")
    (tmp_path / "my_lab" / "encoders.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "my_lab"]:
        del sys.modules[name]


@pytest.mark.usefixtures("lab")
def test_function_of_ones_own_gives_an_encoder_with_its_options() -> None:
    encoder = open_encoder("py:my_lab.encoders:grey", {"image_size": "12"})
    pixels = torch.randn(1, 3, 2, 12, 12)
    tokens = encoder(pixels)
    assert encoder.spec.image_size == 12 and tokens.grid == (2, 3, 3)
    torch.testing.assert_close(tokens.last[0, 9 + 5], pixels[0, :, 1, 4:8, 8:12].mean((1, 2)))
    assert encoder.network.identity.endswith("of my_lab.encoders.Grey")


@pytest.mark.usefixtures("lab")
@pytest.mark.parametrize(
    ("spec", "options", "said"),
    [
        ("py:my_lab.encoders:gray", {}, "no function 'gray'. Did you mean 'grey'"),
        ("py:my_lab.nowhere:grey", {}, "cannot import 'my_lab.nowhere'"),
        ("py:my_lab.encoders", {}, "py:MODULE:FUNCTION"),
        ("py", {}, "needs the option 'model'"),
        ("py:my_lab.encoders:nothing", {}, "returned a NoneType"),
        ("py:my_lab.encoders:positional", {}, "size must be keyword-only"),
        ("py:my_lab.encoders:grey", {"siz": "3"}, "has no option 'siz'"),
        ("py:my_lab.encoders:grey", {"image_size": "big"}, "should be int"),
        ("py:my_lab.encoders:needs_size", {}, "needs the option 'image_size'"),
    ],
)
def test_function_that_cannot_be_used_is_refused_with_the_reason(
    spec: str, options: dict[str, str], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        open_encoder(spec, options)


@pytest.mark.usefixtures("lab")
def test_options_of_ones_own_function_are_settled_with_the_run() -> None:
    run = RunConfig(
        encoder="py:my_lab.encoders:grey",
        task="folder",
        probe="knn",
        encoder_options={"image_size": "12"},
    )
    found = settled(run)
    assert found.encoder == run.encoder and found.encoder_options == {"image_size": 12}


def test_run_settles_both_spellings_of_timm_to_one() -> None:
    for spelled in ("timm/vit_tiny_patch16_224", "timm:vit_tiny_patch16_224"):
        run = RunConfig(encoder=spelled, task="folder", probe="knn")
        assert settled(run).encoder == "timm:vit_tiny_patch16_224"


@pytest.mark.usefixtures("lab")
def test_own_image_encoder_runs_on_videos_and_on_stills(
    records: Records, video_set: Path, tmp_path: Path
) -> None:
    options = ("-m", "py:my_lab.encoders:grey", "-t", "folder", "-p", "knn", "--workers", "0")
    [video] = records(*options, "--data", video_set, "--set", "probe.k=1")
    assert video["encoder"]["num_frames"] == 2
    from PIL import Image

    for number in range(12):
        split, label = ("train", "val")[number % 3 == 2], ("dark", "light")[number % 2]
        path = tmp_path / "stills" / split / label / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        level = 30 + 170 * (number % 2) + number
        Image.fromarray(np.full((20, 24, 3), level, dtype=np.uint8)).save(path)
    [still] = records(*options, "--data", tmp_path / "stills", "--set", "probe.k=1")
    assert still["metrics"]["top1"] == 1.0
    assert still["config"]["plan"] is None and still["plan"]["score"] == "1x1x1@0"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    (tmp_path / "repo").mkdir()
    (tmp_path / "repo" / "hubconf.py").write_text(HUB)
    return tmp_path / "repo"


def test_torch_hub_is_refused_unless_its_code_is_trusted(repository: Path) -> None:
    ran = repository / "ran"
    (repository / "hubconf.py").write_text(f"open({str(ran)!r}, 'w')\n{HUB}")
    with pytest.raises(UsageError, match="--trust-remote-code"):
        open_encoder(f"torchhub:{repository}:tiny", {})
    assert not ran.exists()


def test_trusted_repository_gives_an_encoder_whose_record_says_so(repository: Path) -> None:
    options = {"trust_remote_code": "true", "image_size": 8, "num_frames": 2}
    encoder = open_encoder(f"torchhub:{repository}:tiny", options)
    model = encoder.network.network.model
    pixels = torch.randn(1, 3, 2, 8, 8)
    tokens = encoder(pixels, layers=(0, 1))
    (first, _), (last, mean) = model.get_intermediate_layers(
        pixels[0].transpose(0, 1), n=[0, 1], return_class_token=True
    )
    torch.testing.assert_close(tokens.layers[0][0], first.flatten(0, 1))
    torch.testing.assert_close(tokens.last[0], last.flatten(0, 1))
    torch.testing.assert_close(tokens.prefix[1][0], mean)
    assert encoder.notes[-1].startswith("loaded by the code of")


@pytest.mark.parametrize(
    ("model", "options", "error", "said"),
    [
        ("other", {}, UsageError, "interface of DINOv2"),
        ("absent", {}, CheckpointError, "cannot be loaded"),
        ("tiny", {"image_size": 10}, UsageError, "multiple of 4"),
    ],
)
def test_trusted_model_that_cannot_be_read_is_refused(
    model: str, options: dict[str, int], error: type, said: str, repository: Path
) -> None:
    with pytest.raises(error, match=said):
        open_encoder(f"torchhub:{repository}:{model}", {"trust_remote_code": True, **options})


def test_flag_on_the_command_line_is_trust(bench: Bench, repository: Path, tmp_path: Path) -> None:
    clip = np.zeros((1, 2, 8, 8, 3), dtype=np.uint8)
    np.savez(tmp_path / "clips.npz", clip=clip)
    words = [
        "encode", "-m", f"torchhub:{repository}:tiny", "--clips", tmp_path / "clips.npz",
        "--set", "encoder.image_size=8", "--set", "encoder.num_frames=2",
    ]  # fmt: skip
    code, _, err = bench(*words, "-o", tmp_path / "a.npz", home=False)
    assert code == 2 and "--trust-remote-code" in err and not (tmp_path / "a.npz").exists()
    code, _, err = bench(*words, "--trust-remote-code", "-o", tmp_path / "a.npz", home=False)
    assert code == 0, err
    assert np.load(tmp_path / "a.npz")["mean"].shape == (1, 6)
