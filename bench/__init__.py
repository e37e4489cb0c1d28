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

if TYPE_CHECKING:  # never executed: read by type checkers, by editors and by `_homes`
    from bench import registry as registry
    from bench.config import Machine as Machine
    from bench.config import RunConfig as RunConfig
    from bench.data.discover.dataset import DataSet as DataSet
    from bench.data.discover.label_map import LabelMap as LabelMap
    from bench.data.few_labels import low_shot_task as low_shot_task
    from bench.data.manifest import Manifest as Manifest
    from bench.data.manifest import Task as Task
    from bench.data.read_manifest import read_folder as read_folder
    from bench.data.read_manifest import read_list as read_list
    from bench.encoders.encoder import Encoder as Encoder
    from bench.encoders.networks.adapt import FrameByFrame as FrameByFrame
    from bench.encoders.networks.video_vit import VitArchitecture as VitArchitecture
    from bench.errors import BenchError as BenchError
    from bench.errors import CheckpointError as CheckpointError
    from bench.errors import DataError as DataError
    from bench.errors import UsageError as UsageError

    # No public name is that of a submodule: importing that would replace the name in the package.
    from bench.evaluate.evaluate import evaluate_runs as evaluate_runs
    from bench.pretrain.masks import MultiBlock as MultiBlock
    from bench.pretrain.masks import RandomTube as RandomTube
    from bench.pretrain.predictor import PredictorArchitecture as PredictorArchitecture
    from bench.pretrain.recipe import PretrainRecipe as PretrainRecipe
    from bench.protocols import EvaluationProtocol as EvaluationProtocol
    from bench.publish.leaderboard import Column as Column
    from bench.publish.leaderboard import Leaderboard as Leaderboard
    from bench.publish.leaderboard import Paper as Paper
    from bench.publish.leaderboard import PublishedNumber as PublishedNumber
    from bench.records.record_files import read_record as read_record
    from bench.registry import board as board
    from bench.registry import encoder as encoder
    from bench.registry import paper as paper
    from bench.registry import probe as probe
    from bench.registry import recipe as recipe
    from bench.registry import register as register
    from bench.registry import task as task
    from bench.types import Batch as Batch
    from bench.types import Card as Card
    from bench.types import ClipPlan as ClipPlan
    from bench.types import EncoderSpec as EncoderSpec
    from bench.types import FeatureSource as FeatureSource
    from bench.types import Fitted as Fitted
    from bench.types import Head as Head
    from bench.types import Probe as Probe
    from bench.types import Progress as Progress
    from bench.types import Silent as Silent
    from bench.types import Tokens as Tokens
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
# Type checkers take a name that is renamed on import as exported only from a literal list.
__all__ = ["__version__", "published_task"]
__all__ += sorted(_HOMES.keys() - {*__all__})
