"""Counting a ``torch.nn.Module`` by running its forward on shapes alone.

Parameters and buffers are replaced by meta tensors for the length of one forward (nothing is copied, nothing is
computed), a dispatch mode sees every operator that the forward calls, functional or not, and the module stack says
where. Afterwards every module's attributes are what they were.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from fieldsight.errors import DataError, FieldsightError
from fieldsight.profile.counts import Counts, Layer, Op, merge_ops
from fieldsight.profile.torch_ops import Plan, elements, first_tensor, plan

_COPIES = frozenset({"_to_copy", "to"})


def count_module(
    module: nn.Module | Any,
    *inputs: Any,
    device: Literal["meta", "cpu"] = "meta",
    kernels: bool = False,
    name: str = "",
    samples: int | None = None,
    **kwargs: Any,
) -> Counts:
    """Count a module's parameters, MACs and activations by one forward in evaluation mode.

    Args:
        module: any module. It is left as it was: weights, buffers, attributes, training flags, hooks, gradients.
            (What the forward changes outside its modules, such as files, is out of reach.)
        inputs: what the forward takes; only the shapes and types of tensors matter with ``device="meta"``.
            :func:`example` makes one from a shape.
        device: ``meta`` runs on shapes; ``cpu`` runs one real forward where the module is, for forwards that look at
            values. In both cases no other thread may use the module meanwhile.
        kernels: True runs torch's meta kernels in place of this package's shape arithmetic: slower, same counts.
        name: name in tables, by default the class name.
        samples: samples that the inputs hold, by default the first dimension of the first tensor.
        kwargs: keyword arguments of the forward.

    Returns:
        Counts of the whole pass over all samples. Dense operators are counted dense: a causal mask is no saving.

    Raises:
        DataError: the forward fails, or looks at values; the message names operator and module and the way out.
    """
    if not callable(getattr(module, "named_modules", None)):
        raise DataError(f"Can't count {type(module).__name__!r}: it is no torch.nn.Module.")
    name = name or type(module).__name__
    meta = device == "meta"
    tensors = [v for v in (*inputs, *kwargs.values()) if isinstance(v, Tensor)]
    arguments = _map_tensors((inputs, kwargs), _as_meta) if meta else (inputs, kwargs)
    recorder = _Recorder(name, meta, kernels)
    with _borrowed(module, recorder, meta) as owners:
        try:
            with torch.inference_mode(), recorder:
                module(*arguments[0], **arguments[1])
        except FieldsightError:
            raise
        except Exception as error:
            raise recorder.explain(error, tensors) from error
    if samples is None:
        samples = int(tensors[0].shape[0]) if tensors and tensors[0].dim() else 1
    return recorder.counts(owners, samples)


def example(shape: Sequence[Any], dtype: str = "float32") -> Tensor:
    """A tensor without memory, to stand for an input of that shape in :func:`count_module`.

    Raises:
        DataError: a size is not positive, or torch has no such dtype.
    """
    kind = getattr(torch, dtype, None)
    if not isinstance(kind, torch.dtype):
        raise DataError(f"torch has no dtype '{dtype}'. Use one like float32, float16 or int64.")
    if any(not isinstance(s, int) or s < 1 for s in shape):
        raise DataError(f"An input shape holds positive whole numbers, got {tuple(shape)}.")
    return torch.empty(tuple(shape), dtype=kind, device="meta")


# ------------------------------------------------------------------------------------------- recording


@dataclass(frozen=True)
class _Owner:
    """What one module holds itself: class name, weight, bias and buffer elements, ids of its tensors."""

    kind: str
    weights: int
    biases: int
    stored: int
    ids: tuple[int, ...]


_NOBODY = _Owner("", 0, 0, 0, ())


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees every operator and writes down what it costs, under the module that called it."""

    def __init__(self, name: str, meta: bool, kernels: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.name, self.meta, self.kernels = name, meta, kernels
        self.stack = [""]
        self.rows: dict[tuple[str, str], list[int]] = {}  # (module, kind) -> calls, macs, inputs, outputs
        self.ops: dict[tuple[str, str, str], list[int]] = {}  # (role, module, kind) -> calls, inputs, outputs
        self.owned: set[int] = set()  # ids of parameters and of what stands in for them
        self.used: dict[int, str] = {}  # which of them an operator took, and its kind
        self.multiplied: dict[int, str] = {}  # which of them an operator with MACs took, and where
        self.failed: tuple[str, str] | None = None

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        planned = plan(func)
        if planned.role == "composite":
            with self:
                return func.decompose(*args, **kwargs)
        out = None
        if planned.shape is not None and self.meta and (planned.always or not self.kernels):
            out = planned.shape(args, kwargs)
        if out is None:
            out = self._run(func, planned, args, kwargs)
        for value in args:
            if id(value) in self.owned:
                self.used.setdefault(id(value), "" if planned.role == "free" else planned.kind)
                if planned.macs is not None:
                    self.multiplied.setdefault(id(value), self.stack[-1])
        if planned.role != "free":
            self._record(planned, args, kwargs, out)
        return out

    def _run(self, func: Any, planned: Plan, args: Any, kwargs: Any) -> Any:
        try:
            if self.meta:
                args, kwargs = _one_device(planned, args, kwargs)
            return func(*args, **kwargs)
        except Exception:
            self.failed = self.failed or (str(func), self.stack[-1])
            raise

    def _record(self, planned: Plan, args: Any, kwargs: Any, out: Any) -> None:
        where, first = self.stack[-1], first_tensor(out)
        written = first.numel() if first is not None else 0
        if planned.macs is None:
            key = ("unknown" if planned.role == "unknown" else "arithmetic", where, planned.kind)
            if planned.role != "lookup":
                row = self.ops.setdefault(key, [0, 0, 0])
                row[0] += 1
                row[1] += elements(args)
                row[2] += written
                return
            macs, read = 0, 0
        else:
            macs = planned.macs(args, kwargs, first)
            taken = (a for a in args[slice(*planned.reads)] if isinstance(a, Tensor) and id(a) not in self.owned)
            read = sum(a.numel() for a in taken)
        kind = planned.kind if planned.kind != "convolution" else _convolution_kind(args)
        row = self.rows.setdefault((where, kind), [0, 0, 0, 0])
        row[0] += 1
        row[1] += macs
        row[2] += read
        row[3] += written

    def counts(self, owners: dict[str, _Owner], samples: int) -> Counts:
        """Put parameters and operators together: rows in order of execution, then what only holds parameters."""
        order = dict.fromkeys([where for where, _ in self.rows] + [where for _, where, _ in self.ops])
        kinds = {where: kind for _, where, kind in reversed(self.ops)}
        owners = self._tied_tables(owners)
        layers, given = [], set()
        for (where, kind), (calls, macs, read, written) in self.rows.items():
            owner = owners.get(where, _NOBODY) if where not in given else _NOBODY
            given.add(where)
            layers.append(
                Layer(where or self.name, kind, owner.weights, owner.biases, macs, read, written, calls=calls)
            )
        missed = 0
        for where in [*(w for w in order if w in owners), *(w for w in owners if w not in order)]:
            owner = owners[where]
            if where in given or not owner.weights + owner.biases:
                continue
            takers = [self.used[i] for i in owner.ids if i in self.used]
            missed += 0 if takers or where in order else owner.weights + owner.biases
            kind = kinds.get(where) or next(filter(None, takers), "") or owner.kind
            layers.append(Layer(where or self.name, kind, owner.weights, owner.biases, calls=0))
        notes = (f"{missed:,} parameters were not used in this forward.",) if missed else ()
        ops = {
            role: merge_ops(
                Op(k, row[0], row[1], row[2], w or self.name) for (r, w, k), row in self.ops.items() if r == role
            )
            for role in ("arithmetic", "unknown")
        }
        buffers = sum(owner.stored for owner in owners.values())
        return Counts(
            self.name, "torch", tuple(layers), ops["arithmetic"], ops["unknown"], buffers, samples, notes=notes
        )

    def _tied_tables(self, owners: dict[str, _Owner]) -> dict[str, _Owner]:
        """Hand the weights of a table that is also multiplied elsewhere to that place, which reads all of it."""
        moved = dict(owners)
        for where, owner in owners.items():
            place = next((p for i in owner.ids if (p := self.multiplied.get(i, where)) != where), where)
            if place != where and (where, "embedding") in self.rows:
                other = moved.get(place, _NOBODY)
                moved[place] = replace(other, weights=other.weights + owner.weights)
                moved[where] = replace(owner, weights=0)
        return moved

    def explain(self, error: Exception, tensors: Sequence[Tensor]) -> DataError:
        """A forward's exception as a sentence with the way out."""
        reason = str(error).strip().split("\n")[0][:300].rstrip(".") or type(error).__name__
        shapes = ", ".join(f"{tuple(t.shape)} {str(t.dtype).removeprefix('torch.')}" for t in tensors) or "no tensor"
        operator, where = self.failed or ("", "")
        place = f" in module '{where}'" if where else f" in {self.name} itself"
        subject = f"The operator {operator}{place}" if operator else f"The forward of {self.name}"
        words = str(error).lower()
        if "does not require grad" in words:
            return DataError(f"{subject} takes gradients, which are not counted: give the part that does not.")
        if "higherorderoperator" in words or "flexattention" in words:
            return DataError(
                f"{subject} needs an operator that only torch.compile runs: {reason}. Build it with the plain form (in "
                "transformers, attn_implementation='sdpa')."
            )
        valueless = (bool(operator) and isinstance(error, NotImplementedError)) or any(
            phrase in words for phrase in ("meta tensor", "no data", "meta backend", "data-dependent")
        )
        if self.meta and valueless:
            return DataError(
                f"{subject} can't run on shapes alone: {reason}. Give real inputs and device='cpu' to count one real "
                "forward."
            )
        kind = "" if operator else f"{type(error).__name__}: "
        return DataError(f"{subject} failed: {kind}{reason}. The inputs were {shapes}: check the example inputs.")


def _convolution_kind(args: Any) -> str:
    return f"conv{'_transpose' if args[6] else ''}{args[1].dim() - 2}d"


def _one_device(planned: Plan, args: Any, kwargs: Any) -> Any:
    """Bring the tensors of one call to the meta device if any of them is there; copies to a device stay on it."""
    found: list[Tensor] = []
    _map_tensors((args, kwargs), found.append)
    if not any(t.is_meta for t in found):
        return args, kwargs
    if any(not t.is_meta and t.dim() for t in found):
        lengths = planned.kind in ("lstm", "gru", "rnn")  # of a packed sequence: values, kept on the CPU
        args, kwargs = _map_tensors(
            (args, kwargs), lambda t: t if t.dim() == 0 or (lengths and t.dtype is torch.int64) else _as_meta(t)
        )
    if planned.kind in _COPIES:
        args = tuple(torch.device("meta") if isinstance(a, torch.device) else a for a in args)
        kwargs = {k: torch.device("meta") if k == "device" and v is not None else v for k, v in kwargs.items()}
    return args, kwargs


# -------------------------------------------------------------------------------- borrowing the module

_Saved = tuple[nn.Module, bool, dict[str, Any], list[Any]]


@contextmanager
def _borrowed(module: nn.Module, recorder: _Recorder, meta: bool) -> Iterator[dict[str, _Owner]]:
    """Lend the module to the recorder and give it back unchanged.

    Yields:
        Per module name what it holds itself, each tensor once.
    """
    owners: dict[str, _Owner] = {}
    proxies: dict[int, Tensor] = {}
    alive: list[Any] = []  # an id names a tensor only as long as it lives
    saved: list[_Saved] = []
    state = torch.get_rng_state()
    try:
        for name, part in _parts(module):
            if isinstance(part, torch.jit.ScriptModule):
                saved.append((part, part.training, {}, []))
                _borrow_script(part, name or recorder.name, meta)
                owned: list[tuple[Tensor, bool]] = [(p, False) for p in part.parameters(recurse=False)]
                owned += [(b, True) for b in part.buffers(recurse=False)]
            else:
                attributes = part.__dict__
                parameters: dict[str, Any] = part._parameters
                buffers: dict[str, Any] = part._buffers
                saved.append((part, part.training, attributes.copy(), _containers(attributes)))
                owned = [(p, False) for p in parameters.values() if p is not None]
                owned += [(b, True) for b in buffers.values() if b is not None]
            counted = [0, 0, 0]
            alive.append(owned)
            for tensor, stored in owned:
                if id(tensor) not in proxies:
                    _refuse_lazy(tensor, name or recorder.name)
                    proxies[id(tensor)] = _as_meta(tensor) if meta else tensor.clone() if stored else tensor
                    counted[2 if stored else tensor.dim() < 2] += tensor.numel()
            if owned:
                ids = [id(t) for t, stored in owned if not stored]
                ids += [id(proxies[i]) for i in ids]
                recorder.owned.update(ids)
                owners[name] = _Owner(type(part).__name__.lower(), counted[0], counted[1], counted[2], tuple(ids))
            if isinstance(part, torch.jit.ScriptModule):
                continue
            for held in (parameters, buffers):
                held.update({key: proxies[id(t)] for key, t in held.items() if t is not None})
            attributes["training"] = False
            attributes["forward"] = _named(_eager(part), name, recorder.stack)
        yield owners
    finally:
        for part, training, attributes, containers in saved:
            if isinstance(part, torch.jit.ScriptModule):
                part.training = training
                continue
            part.__dict__.clear()
            part.__dict__.update(attributes)
            for i in range(0, len(containers), 2):
                if containers[i] or containers[i + 1]:
                    _put_back(containers[i], containers[i + 1])
        torch.set_rng_state(state)


def _containers(attributes: dict[str, Any]) -> list[Any]:
    """The dicts, lists and sets a module holds (parameters, buffers, hooks, its own), each followed by a copy.

    The copy of an empty one is None. A flat list, because thousands of pairs would call the garbage collector.
    """
    found: list[Any] = []
    for value in attributes.values():
        if type(value) in _PLAIN:
            found.append(value)
            found.append(type(value)(value) if value else None)
    return found


_PLAIN = frozenset({dict, OrderedDict, list, set})


def _put_back(now: Any, before: Any) -> None:
    now.clear()
    if before and isinstance(now, list):
        now.extend(before)
    elif before:
        now.update(before)


def _eager(part: nn.Module) -> Callable[..., Any]:
    """The forward without torch.compile, which has nothing to compile on shapes."""
    if part.__dict__.get("_compiled_call_impl") is not None:
        part.__dict__["_compiled_call_impl"] = None
    original = part._modules.get("_orig_mod")
    if original is not None and type(part).__name__ == "OptimizedModule":
        return original
    return part.forward


def _parts(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """What ``named_modules`` gives, in a third of its time."""
    seen: set[int] = set()
    found: list[tuple[str, nn.Module]] = []

    def walk(part: nn.Module, name: str) -> None:
        if id(part) in seen:
            return
        seen.add(id(part))
        found.append((name, part))
        prefix = f"{name}." if name else ""
        for key, child in part._modules.items():
            if child is not None:
                walk(child, prefix + key)

    walk(module, "")
    return found


def _borrow_script(part: Any, name: str, meta: bool) -> None:
    if meta:
        raise DataError(
            f"'{name}' is TorchScript, which can't run on shapes alone. Count the module it was made from, or give "
            "real inputs and device='cpu'."
        )
    part.training = False


def _named(forward: Callable[..., Any], name: str, stack: list[str]) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Any:
        stack.append(name)
        try:
            return forward(*args, **kwargs)
        finally:
            stack.pop()

    run.__wrapped__ = forward  # type: ignore[attr-defined]  # inspect.signature follows it
    return run


def _as_meta(tensor: Tensor) -> Tensor:
    """The same shape, strides and type without data. Nested and sparse tensors are left to the operators."""
    if tensor.is_meta or tensor.is_nested or tensor.layout is not torch.strided:
        return tensor
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")


def _map_tensors(value: Any, change: Callable[[Tensor], Any]) -> Any:
    """Apply ``change`` to every tensor in nested tuples, lists and dictionaries."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, nn.utils.rnn.PackedSequence):  # its lengths are values, and torch wants them on the CPU
        return value._replace(data=change(value.data))
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_map_tensors(v, change) for v in value))
    if isinstance(value, (tuple, list)):
        return type(value)(_map_tensors(v, change) for v in value)
    if isinstance(value, dict):
        return {k: _map_tensors(v, change) for k, v in value.items()}
    return value


def _refuse_lazy(tensor: Tensor, name: str) -> None:
    if nn.parameter.is_lazy(tensor):
        raise DataError(
            f"'{name}' has a lazy parameter without a shape. Run one forward with real input first, or give the layer "
            "its input size."
        )
