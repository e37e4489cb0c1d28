"""Evaluate frozen video and image encoders: the public names for extensions and notebooks.

The names in `__all__` are stable: `from bench import Encoder, task`. Every other name and module
of this distribution is private and may move or change in any release.

`import bench` is light: each name is imported from its module on first use, so that a module with
only a table in it does not wait for torch.
"""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

__version__ = "0.1.0"
__all__ = [
    "Batch",
    "BenchError",
    "Card",
    "CheckpointError",
    "ClipPlan",
    "Column",
    "DataError",
    "DataSet",
    "Encoder",
    "EncoderSpec",
    "EvaluationProtocol",
    "FeatureSource",
    "Fitted",
    "FrameByFrame",
    "Head",
    "LabelMap",
    "Leaderboard",
    "Machine",
    "Manifest",
    "MultiBlock",
    "Paper",
    "PredictorArchitecture",
    "PretrainRecipe",
    "Probe",
    "Progress",
    "PublishedNumber",
    "RandomTube",
    "RunConfig",
    "Silent",
    "Task",
    "Tokens",
    "UsageError",
    "VitArchitecture",
    "__version__",
    "board",
    "encoder",
    "evaluate_runs",
    "low_shot_task",
    "paper",
    "probe",
    "published_task",
    "read_folder",
    "read_list",
    "read_record",
    "recipe",
    "register",
    "registry",
    "task",
    "write",
]


if TYPE_CHECKING:  # never executed: read by type checkers, by editors and by `_homes`
    from bench import registry
    from bench.config import Machine, RunConfig
    from bench.data.discover.dataset import DataSet
    from bench.data.discover.label_map import LabelMap
    from bench.data.few_labels import low_shot_task
    from bench.data.manifest import Manifest, Task
    from bench.data.read_manifest import read_folder, read_list
    from bench.encoders.encoder import Encoder
    from bench.encoders.networks.adapt import FrameByFrame
    from bench.encoders.networks.video_vit import VitArchitecture
    from bench.errors import BenchError, CheckpointError, DataError, UsageError

    # No public name is that of a submodule: importing that would replace the name in the package.
    from bench.evaluate.evaluate import evaluate as evaluate_runs
    from bench.pretrain.masks import MultiBlock, RandomTube
    from bench.pretrain.predictor import PredictorArchitecture
    from bench.pretrain.recipe import PretrainRecipe
    from bench.protocols import EvaluationProtocol
    from bench.publish.leaderboard import Column, Leaderboard, Paper, PublishedNumber
    from bench.records.record_files import read_record
    from bench.registry import board, encoder, paper, probe, recipe, register, task
    from bench.types import (
        Batch,
        Card,
        ClipPlan,
        EncoderSpec,
        FeatureSource,
        Fitted,
        Head,
        Probe,
        Progress,
        Silent,
        Tokens,
    )
    from leaderboards.render.write_all import write
    from tasks.published_task import published as published_task
else:

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            from bench.errors import closest

            raise AttributeError(f"module 'bench' has no name {name!r}.{closest(name, __all__)}")
        module, original = _HOMES[name]
        if module == __name__:  # a submodule
            found = import_module(f"{module}.{original}")
        else:
            found = getattr(import_module(module), original)
        globals()[name] = found  # the next use does not come here
        return found


def __dir__() -> list[str]:
    return __all__


def _homes() -> dict[str, tuple[str, str]]:
    """Return by public name the module that defines it and its name there."""
    tree = ast.parse(Path(__file__).read_text(encoding="utf-8"))
    [block] = [node for node in tree.body if isinstance(node, ast.If)]
    return {
        alias.asname or alias.name: (str(node.module), alias.name)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


_HOMES = _homes()
