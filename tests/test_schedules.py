import json
from pathlib import Path

import pytest

from bench.schedules import cosine_lr, cosine_weight_decay

SCHEDULES = json.loads((Path(__file__).parent / "fixtures" / "schedules.json").read_text())


@pytest.mark.parametrize(
    ("name", "total", "warmup"),
    [("v1_pretrain_vitl16", 112_500, 12_000), ("v1_eval_k400", 945 * 20, 0)],
)
def test_schedules_are_those_of_the_released_run(name: str, total: int, warmup: int) -> None:
    config = SCHEDULES[name]["config"]
    final_decay = config.get("final_weight_decay", 1e-6)
    for row in SCHEDULES[name]["rows"]:
        lr = cosine_lr(
            row["step"],
            reference=config["lr"],
            start=config["start_lr"],
            final=config["final_lr"],
            total_steps=total,
            warmup_steps=warmup,
        )
        decay = cosine_weight_decay(
            row["step"], reference=config["weight_decay"], final=final_decay, total_steps=total
        )
        assert lr == pytest.approx(row["lr"], abs=1e-12)
        assert decay == pytest.approx(row["weight_decay"], abs=1e-12)


def test_first_step_of_a_warmup_from_zero_already_learns() -> None:
    # Step 1 of 4 warm-up steps: a quarter of 0.8. Step 4 is the reference itself.
    given = {"reference": 0.8, "final": 0.0, "total_steps": 8, "warmup_steps": 4}
    assert cosine_lr(1, **given) == pytest.approx(0.2)
    assert cosine_lr(4, **given) == pytest.approx(0.8)
    assert cosine_lr(6, **given) == pytest.approx(0.4)
    assert cosine_lr(8, **given) == pytest.approx(0.0, abs=1e-15)


def test_step_beyond_the_schedule_keeps_to_the_final_rate() -> None:
    assert cosine_lr(10, reference=1.0, final=0.1, total_steps=10) == pytest.approx(0.1)
    assert cosine_lr(11, reference=1.0, final=0.1, total_steps=10) >= 0.1


def test_weight_decay_may_rise() -> None:
    assert cosine_weight_decay(5, reference=0.0, final=0.4, total_steps=10) == pytest.approx(0.2)
