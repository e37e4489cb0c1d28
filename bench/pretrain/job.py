"""What to pretrain and where: a recipe, its data and seed, and the machine's part."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bench.errors import UsageError
from bench.pretrain.engine import EngineKind
from bench.pretrain.recipe import PretrainRecipe

# Numbers that count from 1, and what they are called on the command line.
AT_LEAST_ONE = {
    "stop_after": "--steps",
    "save_every": "--save-every",
    "encoder_every": "--encoder-every",
    "log_every": "--log-every",
    "watch_every": "--watch-every",
    "accumulate": "--accumulate",
}


@dataclass(frozen=True, kw_only=True)
class PretrainJob:
    """One pretraining run. `recipe`, `lists` and `seed` decide the weights, the rest does not.

    `out` is the run folder. `stop_after` ends the run at that step and leaves the schedules as
    they are. A checkpoint is written every `save_every` steps, an evaluation folder every
    `encoder_every` and at the end, a line of the log every `log_every`; features are measured every
    `watch_every` steps, and probed on the task `watch` if one is named. `accumulate` is the number
    of backward passes that a step takes on each process. `keep_decoded_gb` is how much memory may
    hold decoded videos, for small data sets.

    Raises:
        UsageError: a number that cannot work.
    """

    recipe: PretrainRecipe
    lists: tuple[str, ...]
    out: Path
    seed: int = 0
    data: Path | None = None
    stop_after: int | None = None
    resume: bool = False
    save_every: int = 1000
    encoder_every: int | None = None
    log_every: int = 20
    watch: str | None = None
    watch_every: int = 500
    device: str = "auto"
    engine: EngineKind = "auto"
    accumulate: int = 1
    workers: int = 2
    keep_decoded_gb: float = 0.0
    compile_blocks: bool = False
    checkpoint_activations: bool = False

    def __post_init__(self) -> None:
        for key, option in AT_LEAST_ONE.items():
            if getattr(self, key) is not None and getattr(self, key) < 1:
                raise UsageError(f"{option} must be at least 1.")
        if self.watch_every % self.log_every:
            raise UsageError(
                f"--watch-every {self.watch_every} must be a multiple of --log-every"
                f" {self.log_every}."
            )
        if self.seed < 0 or self.workers < 0 or self.keep_decoded_gb < 0:
            raise UsageError("--seed, --workers and --keep-decoded must be at least 0.")
        if not self.lists:
            raise UsageError("pretraining needs videos: name one or more lists with --data.")

    @property
    def last_step(self) -> int:
        """The step after which the run ends."""
        return min(self.recipe.num_steps, self.stop_after or self.recipe.num_steps)
