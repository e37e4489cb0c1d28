"""User-defined encoders: a function, named by its module, that builds one.

The function takes keyword-only options (`--set encoder.OPTION=VALUE`) and returns a
`bench.encoders.encoder.Encoder`; wrap an image network in
`bench.encoders.networks.adapt.FrameByFrame`.
"""

from __future__ import annotations

from bench import registry
from bench.encoders.encoder import Encoder
from bench.encoders.named import own_function
from bench.errors import UsageError


@registry.encoder
def py(*, model: str) -> Encoder:
    """A function of your own, as py:MODULE:FUNCTION; its keyword-only arguments are the options.

    Raises:
        UsageError: no such module or function, or one that does not return an encoder.
    """
    encoder = own_function(model).function()
    if not isinstance(encoder, Encoder):
        raise UsageError(
            f"encoder 'py:{model}': its function returned a {type(encoder).__name__}; return a"
            " bench.encoders.encoder.Encoder."
        )
    return encoder
