"""What to pretrain and where: recipe, data, seed and machine settings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bench.errors import UsageError
from bench.pretrain.engine import EngineKind
from bench.pretrain.recipe import PretrainRecipe

# Fields that must be at least 1, with their command-line options.
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
    """One pretraining run. Only `recipe`, `lists` and `seed` decide the weights.

    `out` is the run folder. `stop_after` ends the run at that step without changing the schedules.
    A checkpoint is written every `save_every` steps, an evaluation folder every `encoder_every` and
    at the end, a log line every `log_every`; features are measured every `watch_every` steps, and
    probed on the task `watch`, if any. `accumulate` is the number of backward passes per step and
    process. `keep_decoded_gb` is the memory for decoded videos, for small data sets.

    Raises:
        UsageError: an invalid number.
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
            raise UsageError("pretraining needs videos: give one or more lists with --data.")

    @property
    def last_step(self) -> int:
        """The last step of the run."""
        return min(self.recipe.num_steps, self.stop_after or self.recipe.num_steps)
