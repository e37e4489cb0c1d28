"""One commit to a repository on the hub: a model card and its `.eval_results`.

The files are read at one commit, which must be the parent of the new one: if somebody else commits
in between, the push fails and nothing is lost.
"""

from __future__ import annotations

import difflib
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from bench.errors import BenchError
from bench.publish.hub_card import EVAL_RESULTS, Provenance, entry_of, one_model, results_of
from bench.publish.hub_merge import card_with, entries_with
from bench.records.record import Record

if TYPE_CHECKING:
    from huggingface_hub import HfApi

CARD = "README.md"


@dataclass(frozen=True, kw_only=True)
class Change:
    """A file before (None: missing) and after the change."""

    name: str
    old: str | None
    new: str

    @property
    def diff(self) -> str:
        """The change as a patch; empty if there is none."""
        lines = difflib.unified_diff(
            (self.old or "").splitlines(keepends=True),
            self.new.splitlines(keepends=True),
            "/dev/null" if self.old is None else f"a/{self.name}",
            f"b/{self.name}",
        )
        return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The commit to make on `parent`, with changed files only, and the tasks that get no
    `.eval_results` because they were given no benchmark.
    """

    repo: str
    title: str
    changes: tuple[Change, ...]
    without_benchmark: tuple[str, ...] = ()
    parent: str | None = None


def changes_of(
    records: Sequence[tuple[Record, Path]],
    provenance: Provenance,
    read: Callable[[str], str | None],
    *,
    name: str | None = None,
) -> tuple[tuple[Change, ...], tuple[str, ...]]:
    """Return the files that records (each with its folder) change, and tasks without a benchmark.

    `read` returns the text of an existing file, or None; `name` is the model's name for a new card.

    Raises:
        UsageError: records of several models, or two of the same measurement.
        BenchError: an existing file cannot be merged with.
    """
    model = one_model([record for record, _ in records], provenance)
    parts = [results_of(record, folder, provenance) for record, folder in records]
    old = read(CARD)
    found = [Change(name=CARD, old=old, new=card_with(old, name or model, parts))]
    entries: dict[str, list[dict[str, Any]]] = {}
    for record, folder in records:
        if entry := entry_of(record, folder, provenance):
            entries.setdefault(f"{EVAL_RESULTS}/{record.task.name}.yaml", []).append(entry)
    without = {record.task.name for record, _ in records} - provenance.benchmarks.keys()
    for path, ours in entries.items():
        old = read(path)
        found.append(Change(name=path, old=old, new=entries_with(old, path, ours)))
    return tuple(one for one in found if one.new != one.old), tuple(sorted(without))


def plan_push(records: Sequence[tuple[Record, Path]], provenance: Provenance, repo: str) -> Plan:
    """Read the files on the hub and return the commit that adds these records.

    Raises:
        BenchError: the hub cannot be reached, has no such repository, or its files cannot be merged
            with.
    """
    with _api(repo) as api, tempfile.TemporaryDirectory() as folder:
        info = api.model_info(repo)
        existing = {one.rfilename for one in info.siblings or []}

        def read(name: str) -> str | None:
            if name not in existing:
                return None
            path = api.hf_hub_download(repo, name, revision=info.sha, cache_dir=folder)
            return Path(path).read_bytes().decode()

        changes, without = changes_of(records, provenance, read, name=repo.rpartition("/")[2])
    numbers = ", ".join(sorted(record.id for record, _ in records))
    return Plan(
        repo=repo,
        title=f"Evaluation results of frozenbench: {numbers}",
        changes=changes,
        without_benchmark=without,
        parent=info.sha,
    )


def push(plan: Plan, *, as_pull_request: bool = False) -> str:
    """Make the commit and return its URL, or that of the pull request.

    Raises:
        BenchError: the hub refuses it (no write permission, or another commit came first).
    """
    from huggingface_hub import CommitOperationAdd  # only where needed

    files = [
        CommitOperationAdd(path_in_repo=one.name, path_or_fileobj=one.new.encode())
        for one in plan.changes
    ]
    with _api(plan.repo, unsure="check there whether the commit was made") as api:
        made = api.create_commit(
            plan.repo,
            files,
            commit_message=plan.title,
            parent_commit=plan.parent,
            create_pr=as_pull_request,
        )
    return str(made.pr_url or made.commit_url) if as_pull_request else str(made.commit_url)


@contextmanager
def _api(repo: str, unsure: str = "nothing was sent") -> Iterator[HfApi]:
    """Yield the hub's client and convert its errors to `BenchError`.

    After a refusal nothing has changed. After another error, such as a lost answer, `unsure` says
    what is known.
    """
    from huggingface_hub import HfApi  # only where needed
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
    # Its bases are the errors of the HTTP library that this version of the client uses.
    http_errors = cast("tuple[type[Exception], ...]", HfHubHTTPError.__bases__)
    problems: tuple[type[Exception], ...] = (*http_errors, ValueError)
    try:
        yield api
    except RepositoryNotFoundError as error:
        raise BenchError(
            f"{api.endpoint} has no model {repo}, or you have no access: correct --repo, or log in"
            " with hf auth login."
        ) from error
    except problems as error:
        answer = getattr(error, "response", None)
        is_refusal = answer is not None and answer.status_code < 500
        reason = " ".join(str(error).split())
        state = "nothing was committed" if is_refusal else unsure
        raise BenchError(f"{api.endpoint}, {repo}: {reason}; {state}.") from error
