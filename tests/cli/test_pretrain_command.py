"""`bench pretrain` as a newcomer uses it: help, and wrong inputs answered in one sentence each."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from bench.cli.main import main
from tests.commands import Bench
from tests.pretrain.tiny_run import run_here, running, words, write_videos


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_videos(tmp_path_factory.mktemp("videos"), 3)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture
def fails(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run the command, check the exit code, and return its one sentence."""

    def call(line: list[str], *, code: int) -> str:
        capsys.readouterr()
        assert run_here([str(word) for word in line]) == code
        said = capsys.readouterr()
        sentences = [line for line in said.err.splitlines() if line.startswith("bench: ")]
        assert len(sentences) == 1 and "Traceback" not in said.err, said.err
        assert sentences[0][-1] in ".?" and not said.out
        return sentences[0]

    return call


# -------------------------------------------------------------------------------------- the words
def test_help_answers_without_torch() -> None:
    code = (
        "import sys; from bench.cli.main import main\n"
        "try: main(['pretrain', '--help'])\n"
        "finally: print('torch' in sys.modules, file=sys.stderr)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--resume" in ended.stdout and ended.stderr.strip() == "False"


def test_recipes_are_listed_and_shown(bench: Bench) -> None:
    code, out, _ = bench("ls", "recipes", home=False)
    assert code == 0 and "digits_tiny" in out and "vjepa_vitl16" in out
    code, out, _ = bench("show", "digits_tiny", home=False)
    assert code == 0 and "recipe digits_tiny" in out


def test_misspelt_recipe_is_answered_with_the_closest_name(
    fails: Callable[..., str], videos: Path, run: Path
) -> None:
    said = fails(["pretrain", "digits_tyni", "--data", videos, "--out", run], code=2)
    assert "'digits_tyni'" in said and "'digits_tiny'" in said and not run.exists()


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("batchsize=4", "'batch_size'"),
        ("encoder.dept=4", "'depth'"),
        ("encodr.depth=4", "'encoder'"),
        ("lr=fast", "'fast'"),
        ("lr=-1", "above 0"),
        ("lr=nan", "above 0"),
        ("num_steps=0", "at least 1"),
        ("lr", "KEY=VALUE"),
        ("ema=0.9", "FIRST,LAST"),
        ("masks=tube", "docs/pretraining.md"),
        ("encoder=vit_large", "encoder.KEY=VALUE"),
        ("encoder.width=50", "heads"),
        ("target=pixel", "pixels"),
        ("encoder.num_frames=4", "frames"),
        ("predictor.num_mask_tokens=2", "mask"),
    ],
)
def test_setting_that_cannot_be_says_why(
    fails: Callable[..., str], videos: Path, run: Path, setting: str, told: str
) -> None:
    said = fails([*words(videos, run), "--set", setting], code=2)
    assert told in said and not run.exists()


@pytest.mark.parametrize(
    ("option", "told"),
    [
        (("--save-every", 0), "--save-every"),
        (("--log-every", 7), "--watch-every"),
        (("--steps", 0), "--steps"),
        (("--seed", -1), "--seed"),
        (("--accumulate", 0), "--accumulate"),
        (("--device", "tpu"), "'tpu'"),
        (("--engine", "fsdp"), "'fsdp2'"),
    ],
)
def test_option_that_cannot_be_is_named_as_it_was_typed(
    fails: Callable[..., str], videos: Path, run: Path, option: tuple[str, int | str], told: str
) -> None:
    assert told in fails(words(videos, run, *option), code=2)


def test_sharded_engine_on_one_process_says_how_to_start_more(
    fails: Callable[..., str], videos: Path, run: Path
) -> None:
    said = fails(words(videos, run, "--engine", "fsdp2"), code=2)
    assert "fsdp2" in said and "--gpus" in said


@pytest.mark.parametrize("parts", [3, 8])
def test_batch_that_cannot_be_divided_says_what_can(
    fails: Callable[..., str], videos: Path, run: Path, parts: int
) -> None:
    said = fails(words(videos, run, "--accumulate", parts), code=2)
    assert "batch_size 4" in said and "4" in said and "--set batch_size" in said


# --------------------------------------------------------------------------------------- the data
def test_data_must_be_named(fails: Callable[..., str], run: Path) -> None:
    assert "--data" in fails(["pretrain", "digits_tiny", "--out", run], code=2)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("missing.txt", None, "missing.txt"),
        ("empty.txt", "", "empty"),
        ("blank.txt", "\n\n", "empty"),
        ("gone.txt", "gone.mp4\naway.mp4\n", "gone.mp4"),
        ("notes.txt", "notes.docx\n", "notes.docx"),
    ],
)
def test_list_that_cannot_be_read_is_named(
    fails: Callable[..., str], tmp_path: Path, run: Path, name: str, content: str | None, told: str
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    said = fails(words(tmp_path / name, run), code=4)
    assert told in said and name in said and not run.exists()


def test_names_that_are_nowhere_say_where_to_put_them(
    fails: Callable[..., str], tmp_path: Path, run: Path
) -> None:
    (tmp_path / "list.txt").write_text("gone.mp4\n")
    assert "--data-root" in fails(words(tmp_path / "list.txt", run), code=4)
    said = fails([*words(tmp_path / "list.txt", run), "--data-root", tmp_path / "there"], code=4)
    assert "there" in said and "--data-root" in said


def test_folder_without_media_is_named(
    fails: Callable[..., str], tmp_path: Path, run: Path
) -> None:
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare/readme.md").write_text("nothing here")
    said = fails(words(tmp_path / "bare", run), code=4)
    assert "bare" in said and " mp4 " in said


def test_data_set_of_only_corrupt_files_is_refused_and_the_folder_stays_free(
    fails: Callable[..., str], tmp_path: Path, videos: Path, run: Path
) -> None:
    for number in range(5):
        path = tmp_path / "bad" / f"{number}.mp4"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"<html>404</html>")
    said = fails(words(tmp_path / "bad", run), code=4)
    assert str(tmp_path / "bad") in said and "bench doctor" in said
    assert run_here(words(videos, run, steps=1)) == 0


def test_unknown_task_is_answered_with_the_closest_name(
    fails: Callable[..., str], videos: Path, run: Path
) -> None:
    said = fails(words("task:moving_digits_wat", run), code=2)
    assert "'moving_digits_what'" in said
    said = fails(words(videos, run, "--watch", "moving_digits_wat"), code=2)
    assert "'moving_digits_what'" in said
    assert run_here(words(videos, run, steps=1)) == 0, "a refused run does not take the folder"


def test_weights_behind_some_lists_only_are_refused(
    fails: Callable[..., str], videos: Path, run: Path
) -> None:
    said = fails(words([f"{videos}=2", videos], run), code=2)
    assert "=WEIGHT" in said and str(videos) in said
    assert "number above 0" in fails(words(f"{videos}=0", run), code=2)


# ------------------------------------------------------------------------------------- the folder
def test_folder_of_a_run_is_not_taken_by_another(
    fails: Callable[..., str], videos: Path, run: Path, tmp_path: Path
) -> None:
    assert run_here(words(videos, run, steps=2)) == 0
    held = {path: path.read_bytes() for path in run.rglob("*.*")}
    others = write_videos(tmp_path / "others", 2)

    assert "--resume" in fails(words(videos, run, steps=2), code=2)
    said = fails(words(videos, run, "--resume", "--seed", 1, steps=2), code=2)
    assert "another --seed (seed 0 there, 1 here)" in said and "--out" in said
    said = fails(words(others, run, "--resume", steps=2), code=2)
    assert f"another --data ({videos} with 3 files there, {others} with 2 files here)" in said
    said = fails(words(f"{videos}=1", run, "--resume", steps=2), code=2)
    assert "another --data (other files or weights" in said and "recipe" not in said
    said = fails(words(videos, run, "--resume", steps=3), code=2)
    assert "another recipe (num_steps 2 there, 3 here)" in said
    said = fails(words(videos, run, "--resume", steps=2, encoder__depth=2), code=2)
    assert "encoder.depth 1 there, 2 here" in said
    line = ["pretrain", "vjepa_vitb16_k400", "--data", videos, "--out", run, "--resume"]
    said = fails([*line, "--set", "batch_size=1"], code=2)
    assert "digits_tiny there, vjepa_vitb16_k400 here" in said
    assert {path: path.read_bytes() for path in run.rglob("*.*")} == held


def test_checkpoint_without_its_recipe_is_not_taken_by_another(
    fails: Callable[..., str], videos: Path, run: Path
) -> None:
    assert run_here(words(videos, run, steps=2)) == 0
    (run / "recipe.json").unlink()
    assert "--resume" in fails(words(videos, run, steps=2), code=2)
    said = fails(words(videos, run, "--resume", "--seed", 1, steps=2), code=2)
    assert "another --seed" in said


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.99])
def test_damaged_checkpoint_is_named_with_the_next_step(
    fails: Callable[..., str], videos: Path, run: Path, kept: float
) -> None:
    assert run_here(words(videos, run, "--steps", 1, steps=2)) == 0
    path = run / "latest.pth.tar"
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data))])
    said = fails(words(videos, run, "--resume", steps=2), code=2)
    assert "latest.pth.tar" in said and "remove it" in said


def test_damaged_recipe_is_named(fails: Callable[..., str], videos: Path, run: Path) -> None:
    run.mkdir()
    (run / "recipe.json").write_text("{")
    assert "recipe.json" in fails(words(videos, run, "--resume", steps=2), code=2)


def test_checkpoint_of_other_code_is_refused(
    fails: Callable[..., str], videos: Path, run: Path
) -> None:
    assert run_here(words(videos, run, "--steps", 1, steps=2)) == 0
    held = torch.load(run / "latest.pth.tar", weights_only=True)
    del held["frozenbench"]
    torch.save(held, run / "latest.pth.tar")
    said = fails(words(videos, run, "--resume", steps=2), code=2)
    assert "latest.pth.tar" in said and "move it away" in said


def test_folder_that_cannot_be_made_is_named(
    fails: Callable[..., str], videos: Path, tmp_path: Path
) -> None:
    (tmp_path / "taken").write_text("a file, not a folder")
    for out in (tmp_path / "taken", tmp_path / "taken" / "run"):
        said = fails(words(videos, out), code=1)
        assert str(out) in said and "--out" in said


# ---------------------------------------------------------------------------------------- the run
def test_divergence_names_the_step_and_leaves_the_last_checkpoint(
    fails: Callable[..., str], videos: Path, run: Path
) -> None:
    line = words(videos, run, "--save-every", 1, lr=1e30, start_lr=1e30, precision="fp32")
    said = fails(line, code=1)
    assert "step 2" in said and "lower lr" in said
    held = torch.load(run / "latest.pth.tar", weights_only=True)
    assert held["frozenbench"]["step"] == 1


def test_process_ends_with_the_exit_code_and_no_traceback(videos: Path, run: Path) -> None:
    with running(words(videos, run, "--engine", "ddp")) as process:
        out, err = process.communicate()
    assert process.returncode == 2 and not out
    assert err.startswith("bench: ") and len(err.splitlines()) == 1


def test_settings_are_checked_once_before_processes_are_started(
    fails: Callable[..., str], videos: Path, run: Path
) -> None:
    line = words(videos, run, "--gpus", 2, "--set", "lr=-1")
    assert "above 0" in fails(line, code=2)


def test_unknown_option_is_refused() -> None:
    with pytest.raises(SystemExit) as ended:
        main(["pretrain", "digits_tiny", "--epochs", "3"])
    assert ended.value.code == 2
