"""Three small systems that hold the interfaces which are dear to change later.

- ``toygan``: an adversarial pair; two optimisers, dropout and batch norm in one step.
- ``toystream``: a stream with state, and a WebSocket beside the Studio.
- ``toywords``: a model with two named inputs, one of them text.

They are registered by the test suite and pass the contract as any system does.
"""

from __future__ import annotations

from fieldsight import registry


def register() -> tuple[str, ...]:
    """Register all toys; returns their ids."""
    from toys import gan, stream, words

    return tuple(registry.register(module.SPEC).id for module in (gan, stream, words))
