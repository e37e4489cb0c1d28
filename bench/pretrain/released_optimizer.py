"""AdamW's state as the released pretraining files hold it, so that either code resumes the other.

The released optimizer numbers its parameters group by group, in the order of the state dict, and
lists the frozen position tables among those that decay; here the tables are buffers, which no
optimizer sees. They have a number in the file and no state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch

from bench.encoders.weights.checkpoints import check_shapes, shortened
from bench.errors import CheckpointError

MOMENTS = ("exp_avg", "exp_avg_sq")
SETTINGS = ("lr", "weight_decay", "betas", "eps")
WITHOUT_DECAY = 2  # the first of the groups that never decay; the two before it do
Named = Mapping[str, torch.Tensor]
Gather = Callable[[torch.Tensor], torch.Tensor]
Place = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def numbering(optimizer: torch.optim.Optimizer, networks: Sequence[Named]) -> list[list[str]]:
    """Return the names in every group of the released file, in order; their places are numbers.

    `optimizer` is that of `make_optimizer`, `networks` are the state dicts of encoder and predictor
    with the parameters themselves (`keep_vars=True`), under names that differ.
    """
    group_of = {
        id(parameter): number
        for number, group in enumerate(optimizer.param_groups)
        for parameter in group["params"]
    }
    names: list[list[str]] = [[] for _ in optimizer.param_groups]
    for table_group, network in enumerate(networks):
        for name, tensor in network.items():
            number = group_of.pop(id(tensor), table_group)
            assert number != table_group or tensor.ndim > 1, name
            names[number].append(name)
    assert not group_of, "the optimizer holds parameters of other networks"
    return names


def released_state(
    optimizer: torch.optim.Optimizer, networks: Sequence[Named], gather: Gather
) -> dict[str, Any]:
    """Return the optimizer's state dict in the released numbering, whole and on the CPU.

    `gather` makes a tensor whole; it is called for the same tensors in the same order on every
    process.
    """
    tensors = {name: tensor for network in networks for name, tensor in network.items()}
    names = numbering(optimizer, networks)
    numbers = _numbers(names)
    state = {
        number: {key: gather(value) for key, value in optimizer.state[tensors[name]].items()}
        for name, number in numbers.items()
        if tensors[name] in optimizer.state
    }
    groups = []
    for number, group in enumerate(optimizer.param_groups):
        kept = {key: value for key, value in group.items() if key != "params"}
        # How the update is computed is chosen by whoever reads the file.
        kept.update(fused=None, foreach=None)
        if number >= WITHOUT_DECAY:
            kept["WD_exclude"] = True  # without it the released schedule makes these groups decay
        groups.append({**kept, "params": [numbers[name] for name in names[number]]})
    return {"state": state, "param_groups": groups}


def without_state(optimizer: torch.optim.Optimizer, networks: Sequence[Named]) -> list[str]:
    """Return the names of trained parameters that have no state, for they had no gradient yet."""
    trained = _trained(optimizer, networks)
    return [name for name, tensor in trained.items() if tensor not in optimizer.state]


def check_state(
    held: Any,
    optimizer: torch.optim.Optimizer,
    networks: Sequence[Named],
    *,
    stateless: Iterable[str] | None,
    where: str,
) -> None:
    """Refuse what `load_state` could not load completely.

    `stateless` are the parameters that the file says to have no state; None, where it does not
    say, allows all of them to have none (a run that did not begin) or none of them.

    Raises:
        CheckpointError: other groups, or states that are missing, unexpected or of another shape.
    """
    names = numbering(optimizer, networks)
    sizes = [len(group) for group in names]
    parameters = _trained(optimizer, networks)
    try:
        found = [len(group["params"]) for group in held["param_groups"]]
        ordered = [number for group in held["param_groups"] for number in group["params"]]
        settings = all(key in group for group in held["param_groups"] for key in SETTINGS)
        shapes = {
            (number, key): tuple(torch.as_tensor(value).shape)
            for number, entry in held["state"].items()
            for key, value in entry.items()
        }
    except (KeyError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"{where} is no state of an optimizer ({error!r}); give a checkpoint that pretraining"
            " wrote: a file for evaluation alone cannot be resumed."
        ) from error
    if found != sizes or ordered != list(range(sum(sizes))) or not settings:
        raise CheckpointError(
            f"{where} has groups of {shortened(map(str, found))} parameters, but AdamW of these"
            f" networks has {shortened(map(str, sizes))}; give a checkpoint of the same recipe."
        )
    title = {number: name for name, number in _numbers(names).items()}
    if stateless is None:
        stateless = () if shapes else parameters
    wanted = {
        f"{key} of {name}": () if key == "step" else tuple(tensor.shape)
        for name, tensor in parameters.items()
        if name not in set(stateless)
        for key in ("step", *MOMENTS)
    }
    there = {f"{key} of {title.get(n, n)}": shape for (n, key), shape in shapes.items()}
    check_shapes(wanted, there, where)


def load_state(
    held: Mapping[str, Any],
    optimizer: torch.optim.Optimizer,
    networks: Sequence[Named],
    place: Place,
) -> None:
    """Give the optimizer a state that `check_state` let through, and the settings of its groups.

    `place(value, parameter)` copies a whole tensor to where and how the parameter lies.
    """
    tensors = {name: tensor for network in networks for name, tensor in network.items()}
    numbers = _numbers(numbering(optimizer, networks))
    own = optimizer.state_dict()["param_groups"]
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    listed = [number for group in own for number in group["params"]]
    number_here = {id(p): number for p, number in zip(parameters, listed, strict=True)}
    state = {}
    for name, number in numbers.items():
        if number in held["state"]:
            entry, parameter = held["state"][number], tensors[name]
            moments = {key: place(entry[key], parameter) for key in MOMENTS}
            step = torch.as_tensor(entry["step"], dtype=torch.float32).clone()
            state[number_here[id(parameter)]] = {"step": step, **moments}
    groups = [
        {**group, **{key: told[key] for key in SETTINGS}}
        for group, told in zip(own, held["param_groups"], strict=True)
    ]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _trained(
    optimizer: torch.optim.Optimizer, networks: Sequence[Named]
) -> dict[str, torch.Tensor]:
    trained = {id(p) for group in optimizer.param_groups for p in group["params"]}
    return {n: t for network in networks for n, t in network.items() if id(t) in trained}


def _numbers(names: Sequence[Sequence[str]]) -> dict[str, int]:
    return {name: number for number, name in enumerate(n for group in names for n in group)}
