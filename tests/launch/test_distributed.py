import os
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import distributed

from bench.errors import UsageError
from bench.launch.distributed import any_rank, gather_objects, join, launched, mean_over_ranks

# What several processes tell each other is tested in test_launch.py, with processes.
VARIABLES = {
    "RANK": "0",
    "WORLD_SIZE": "1",
    "LOCAL_RANK": "0",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "0",
}


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def call(**changes: Any) -> None:
        for name, value in {**VARIABLES, **changes}.items():
            if value is not None:
                monkeypatch.setenv(name, value)

    return call


def test_without_a_launcher_there_is_one_process_that_talks_to_nobody() -> None:
    with join("cpu") as world:
        assert (world.rank, world.local_rank, world.size, world.is_main) == (0, 0, 1, True)
        assert world.device == torch.device("cpu")
        assert not distributed.is_initialized()
        value = torch.tensor([1.0, 3.0])
        assert mean_over_ranks(world, value) is value
        assert [any_rank(world, True), any_rank(world, False)] == [True, False]
        assert gather_objects(world, "mine") == ["mine"]


def test_the_process_group_is_left_at_the_end_and_after_an_error(
    environment: Callable[..., None],
) -> None:
    environment()
    for _ in range(2):
        with pytest.raises(RuntimeError, match="of the run"), join("cpu"):
            assert launched() and distributed.get_backend() == "gloo"
            raise RuntimeError("of the run")
        assert not distributed.is_initialized()


def test_an_incomplete_environment_names_what_is_missing(environment: Callable[..., None]) -> None:
    environment(MASTER_PORT=None, LOCAL_RANK=None)
    with pytest.raises(UsageError, match="RANK is set but LOCAL_RANK, MASTER_PORT is not"):
        join("cpu").__enter__()


@pytest.mark.parametrize(
    ("changes", "says"),
    [({"RANK": "2", "WORLD_SIZE": "2"}, "RANK=2"), ({"WORLD_SIZE": "two"}, "must be numbers")],
)
def test_an_environment_that_cannot_be_is_refused(
    environment: Callable[..., None], changes: dict[str, str], says: str
) -> None:
    environment(**changes)
    with pytest.raises(UsageError, match=says):
        join("cpu").__enter__()
    assert "MASTER_ADDR" in os.environ and not distributed.is_initialized()


def test_an_unknown_device_is_refused() -> None:
    with pytest.raises(UsageError, match="'gpu' is not a device"):
        join("gpu").__enter__()


@pytest.mark.skipif(torch.cuda.is_available(), reason="about machines without a GPU")
def test_auto_is_the_cpu_where_there_is_no_gpu_and_cuda_is_refused() -> None:
    with join("auto") as world:
        assert world.device.type == "cpu"
    with pytest.raises(UsageError, match="finds no GPU"):
        join("cuda").__enter__()
