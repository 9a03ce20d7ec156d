"""Everything that learns, in files without pickle: tensors as safetensors, the rest as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fieldsight.data.files import atomic_folder, read_json, write_json
from fieldsight.errors import DataError, RunError

FORMAT = 1


class State:
    """All that a checkpoint holds, by name: networks, optimisers, schedules, and plain values.

    Whatever has ``state_dict`` and ``load_state_dict`` is saved through them; numbers, strings, lists and dicts are
    saved as they are; tensors too.

        state = State(net=net, opt=torch.optim.Adam(net.parameters()), best=0.0)
        state.net(x); state.best = 1.0
    """

    def __init__(self, **parts: Any) -> None:
        self.__dict__.update(parts)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"The training state has no part '{name}'; it has {', '.join(self.__dict__)}.")

    def parts(self) -> Iterator[tuple[str, Any]]:
        """Names and parts in the order given."""
        return iter(self.__dict__.items())

    def modules(self) -> dict[str, nn.Module]:
        """The networks by name."""
        return {name: part for name, part in self.parts() if isinstance(part, nn.Module)}

    def capture(self) -> dict[str, Any]:
        """A tree of plain values and tensors that :meth:`restore` takes back; tensors are not copied."""
        return {name: p.state_dict() if hasattr(p, "state_dict") else p for name, p in self.parts()}

    def restore(self, tree: Mapping[str, Any]) -> None:
        """Put back what :meth:`capture` gave.

        Raises:
            RunError: the tree has other parts, or a part does not fit.
        """
        if set(tree) != set(self.__dict__):
            raise RunError(
                f"The checkpoint holds {', '.join(tree) or 'nothing'}, the training state "
                f"{', '.join(self.__dict__)}. It was made by another version of this training."
            )
        for name, part in list(self.parts()):
            if hasattr(part, "load_state_dict"):
                try:
                    part.load_state_dict(tree[name])
                except (RuntimeError, ValueError, KeyError) as error:
                    raise RunError(f"The checkpoint's '{name}' does not fit: {error}") from None
            else:
                setattr(self, name, tree[name])


def gradients(state: State) -> dict[str, dict[str, Tensor]]:
    """Gradients that wait for an optimiser step, by network and parameter: a checkpoint between two accumulated
    batches, or between the halves of an adversarial pair, would lose them otherwise.
    """
    waiting: dict[str, dict[str, Tensor]] = {}
    for name, module in state.modules().items():
        found = {k: p.grad for k, p in module.named_parameters() if p.grad is not None and bool(p.grad.any())}
        if found:
            waiting[name] = found
    return waiting


def restore_gradients(state: State, waiting: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Put back what :func:`gradients` gave."""
    for name, found in waiting.items():
        for key, parameter in state.modules()[name].named_parameters():
            if key in found:
                parameter.grad = found[key].to(parameter.device)


def save_checkpoint(folder: str | Path, tree: Mapping[str, Any], loop: Mapping[str, Any]) -> Path:
    """Write a captured state and the loop's counters as a folder, whole or not at all."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    tensors: dict[str, Tensor] = {}
    plain = _pack(dict(tree), "", tensors)
    with atomic_folder(folder) as temporary:
        try:
            save_file(tensors, str(temporary / "tensors.safetensors"))
        except SafetensorError as error:  # its words for a full disk
            raise OSError(f"can't store the tensors: {error}") from None
        write_json(temporary / "state.json", {"format": FORMAT, "loop": dict(loop), "tree": plain})
    return Path(folder)


def load_checkpoint(folder: str | Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read back ``(tree, loop)``.

    Raises:
        RunError: incomplete, corrupt, or of a newer format.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    source = Path(folder)
    try:
        values = read_json(source / "state.json")
        if values["format"] > FORMAT:
            raise RunError(f"The checkpoint '{source}' has format {values['format']}, this fieldsight reads {FORMAT}.")
        tensors = load_file(str(source / "tensors.safetensors"))
        return _unpack(values["tree"], tensors), values["loop"]
    except (OSError, DataError, SafetensorError, KeyError, TypeError, IndexError) as error:
        raise RunError(
            f"The checkpoint '{source}' can't be read: {error}. Delete it to go on from an older one."
        ) from None


# JSON trees: a dict becomes {"d": [[key, value], ...]} since optimiser states use numbers as keys, a list
# {"l": [...]}, a tuple {"t": [...]}, a tensor {"x": name}; numbers, strings, booleans and None stay themselves.


def _pack(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        name = path or "value"
        # a copy on the CPU: safetensors refuses tensors that share memory, as tied weights do
        tensors[name] = value.detach().to("cpu", copy=True).contiguous()
        return {"x": name}
    if isinstance(value, Mapping):
        return {"d": [[k, _pack(v, f"{path}/{k}" if path else str(k), tensors)] for k, v in value.items()]}
    if isinstance(value, (list, tuple)):
        packed = [_pack(v, f"{path}/{i}", tensors) for i, v in enumerate(value)]
        return {"t" if isinstance(value, tuple) else "l": packed}
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else {"f": str(value)}
    raise RunError(f"The training state holds {type(value).__name__} at '{path}', which a checkpoint can't store.")


def _unpack(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if not isinstance(value, dict):
        return value
    (kind, inner), *_ = value.items()
    if kind == "x":
        return tensors[inner]
    if kind == "f":
        return float(inner)
    if kind == "d":
        return {k: _unpack(v, tensors) for k, v in inner}
    items = [_unpack(v, tensors) for v in inner]
    return tuple(items) if kind == "t" else items


def copy_tree(value: Any) -> Any:
    """A deep copy of a captured tree with its own tensors."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, Mapping):
        return {k: copy_tree(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(copy_tree(v) for v in value)
    return value


def same_tree(a: Any, b: Any) -> bool:
    """True when two captured trees hold the same bits."""
    if isinstance(a, Tensor) or isinstance(b, Tensor):
        return isinstance(a, Tensor) and isinstance(b, Tensor) and a.dtype == b.dtype and torch.equal(a.cpu(), b.cpu())
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return list(a) == list(b) and all(same_tree(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(same_tree(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)
