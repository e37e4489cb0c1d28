"""Stacks of attentive probes with different random parameters, and their plain counterparts."""

from __future__ import annotations

import torch

from benchmarks.plain_attentive import PlainAttentiveProbe
from probes.stack.attentive_head import AttentiveHeads
from probes.stack.released_probe import to_released

KEY_BIAS = "pooler.cross_attention_block.xattn.kv.bias"


def random_stack(
    *, num_probes: int, width: int, num_attention_heads: int, num_classes: int, dtype: torch.dtype
) -> AttentiveHeads:
    """Every probe has its own parameters, biases and norms included."""
    stack = AttentiveHeads(
        num_probes=num_probes,
        width=width,
        num_attention_heads=num_attention_heads,
        num_classes=num_classes,
    )
    generator = torch.Generator().manual_seed(num_probes)
    with torch.no_grad():
        for tensor in stack.state_dict().values():
            tensor.add_(torch.randn(tensor.shape, generator=generator) * 0.3)
    return stack.to(dtype)


def plain_probes(stack: AttentiveHeads) -> list[PlainAttentiveProbe]:
    """One plain module per probe of the stack, with copies of its parameters."""
    made = []
    for k in range(stack.num_probes):
        plain = PlainAttentiveProbe(
            width=stack.width,
            num_attention_heads=stack.num_attention_heads,
            num_classes=stack.num_classes,
        ).to(stack.query.dtype)
        plain.load_state_dict({n: t.clone() for n, t in to_released(stack, k).items()})
        made.append(plain)
    return made


def released_gradients(stack: AttentiveHeads) -> list[dict[str, torch.Tensor]]:
    """The gradients of each probe under the released names; unused parts are zero."""
    shadow = AttentiveHeads(
        num_probes=stack.num_probes,
        width=stack.width,
        num_attention_heads=stack.num_attention_heads,
        num_classes=stack.num_classes,
    ).to(stack.query.dtype)
    with torch.no_grad():
        for name, parameter in shadow.named_parameters():
            gradient = stack.get_parameter(name).grad
            assert gradient is not None, name
            parameter.copy_(gradient)
    return [to_released(shadow, k) for k in range(stack.num_probes)]
