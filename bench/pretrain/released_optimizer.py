"""AdamW's state in the layout of the released pretraining files, so that either code can resume.

The released optimizer numbers its parameters group by group, in state-dict order, and lists the
frozen position tables among those that decay. Here the tables are buffers without optimizer state,
but they keep their number in the file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch

from bench.encoders.weights.checkpoints import check_shapes, shortened
from bench.errors import CheckpointError

MOMENTS = ("exp_avg", "exp_avg_sq")
SETTINGS = ("lr", "weight_decay", "betas", "eps")
WITHOUT_DECAY = 2  # index of the first group without weight decay; the two before it decay
Named = Mapping[str, torch.Tensor]
Gather = Callable[[torch.Tensor], torch.Tensor]
Place = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def parameter_names(optimizer: torch.optim.Optimizer, networks: Sequence[Named]) -> list[list[str]]:
    """Return the names per group of the released file, in the order of their numbers.

    `optimizer` is from `make_optimizer`; `networks` are the state dicts of encoder and predictor
    with the parameters themselves (`keep_vars=True`) and disjoint names.
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
    """Return the optimizer's state dict in the released numbering, unsharded and on the CPU.

    `gather` unshards a tensor; every process calls it for the same tensors in the same order.
    """
    tensors = {name: tensor for network in networks for name, tensor in network.items()}
    names = parameter_names(optimizer, networks)
    numbers = _numbers(names)
    state = {
        number: {key: gather(value) for key, value in optimizer.state[tensors[name]].items()}
        for name, number in numbers.items()
        if tensors[name] in optimizer.state
    }
    groups = []
    for number, group in enumerate(optimizer.param_groups):
        kept = {key: value for key, value in group.items() if key != "params"}
        # The reader of the file chooses the implementation.
        kept.update(fused=None, foreach=None)
        if number >= WITHOUT_DECAY:
            kept["WD_exclude"] = True  # without it the released schedule makes these groups decay
        groups.append({**kept, "params": [numbers[name] for name in names[number]]})
    return {"state": state, "param_groups": groups}


def names_without_state(optimizer: torch.optim.Optimizer, networks: Sequence[Named]) -> list[str]:
    """Return the names of trained parameters without state, which had no gradient yet."""
    trained = _trained(optimizer, networks)
    return [name for name, tensor in trained.items() if tensor not in optimizer.state]


def check_state(
    saved: Any,
    optimizer: torch.optim.Optimizer,
    networks: Sequence[Named],
    *,
    stateless: Iterable[str] | None,
    where: str,
) -> None:
    """Refuse a state that `load_state` could not load completely.

    `stateless` are the parameters without state according to the file; None, if it does not list
    them, accepts a state for all parameters or for none (step 0).

    Raises:
        CheckpointError: the groups differ, or a state is missing, unexpected or of another shape.
    """
    names = parameter_names(optimizer, networks)
    sizes = [len(group) for group in names]
    parameters = _trained(optimizer, networks)
    try:
        found = [len(group["params"]) for group in saved["param_groups"]]
        ordered = [number for group in saved["param_groups"] for number in group["params"]]
        settings = all(key in group for group in saved["param_groups"] for key in SETTINGS)
        shapes = {
            (number, key): tuple(torch.as_tensor(value).shape)
            for number, entry in saved["state"].items()
            for key, value in entry.items()
        }
    except (KeyError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"{where} is not an optimizer state ({error!r}); give a checkpoint that pretraining"
            " wrote: an evaluation-only file cannot be resumed."
        ) from error
    if found != sizes or ordered != list(range(sum(sizes))) or not settings:
        raise CheckpointError(
            f"{where} has groups of {shortened(map(str, found))} parameters, but AdamW for these"
            f" networks has {shortened(map(str, sizes))}; give a checkpoint of the same recipe."
        )
    name_of = {number: name for name, number in _numbers(names).items()}
    if stateless is None:
        stateless = () if shapes else parameters
    expected = {
        f"{key} of {name}": () if key == "step" else tuple(tensor.shape)
        for name, tensor in parameters.items()
        if name not in set(stateless)
        for key in ("step", *MOMENTS)
    }
    actual = {f"{key} of {name_of.get(n, n)}": shape for (n, key), shape in shapes.items()}
    check_shapes(expected, actual, where)


def load_state(
    saved: Mapping[str, Any],
    optimizer: torch.optim.Optimizer,
    networks: Sequence[Named],
    place: Place,
) -> None:
    """Load a state accepted by `check_state`, and the settings of its groups.

    `place(value, parameter)` copies a full tensor to the parameter's device and sharding.
    """
    tensors = {name: tensor for network in networks for name, tensor in network.items()}
    numbers = _numbers(parameter_names(optimizer, networks))
    current = optimizer.state_dict()["param_groups"]
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    listed = [number for group in current for number in group["params"]]
    number_here = {id(p): number for p, number in zip(parameters, listed, strict=True)}
    state = {}
    for name, number in numbers.items():
        if number in saved["state"]:
            entry, parameter = saved["state"][number], tensors[name]
            moments = {key: place(entry[key], parameter) for key in MOMENTS}
            step = torch.as_tensor(entry["step"], dtype=torch.float32).clone()
            state[number_here[id(parameter)]] = {"step": step, **moments}
    groups = [
        {**group, **{key: loaded[key] for key in SETTINGS}}
        for group, loaded in zip(current, saved["param_groups"], strict=True)
    ]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _trained(
    optimizer: torch.optim.Optimizer, networks: Sequence[Named]
) -> dict[str, torch.Tensor]:
    trained = {id(p) for group in optimizer.param_groups for p in group["params"]}
    return {n: t for network in networks for n, t in network.items() if id(t) in trained}


def _numbers(names: Sequence[Sequence[str]]) -> dict[str, int]:
    return {name: number for number, name in enumerate(n for group in names for n in group)}
