"""A user's expert as an ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fieldsight.errors import ConfigError, DataError, MissingExtraError, unknown
from fieldsight.systems.crack.external_heads import Network, fix_for, short


class OnnxExpert(Network):
    """An ONNX file, run by ONNX Runtime on the CPU.

    A file of fixed batch is run photo by photo; a file of fixed height and width gets its input resized, bilinear.

    Args:
        name: in the pool.
        path: the file.
        output: what it gives.
        expects: how its input is scaled.
        input_size: ``(h, w)`` to run it at; by default the file's own, or that of the photo where the file takes any.
        output_name: which output, where the file has several.

    Raises:
        MissingExtraError: onnxruntime is not installed.
        ConfigError: not one image input of 3 channels, or no output of 1 or 2 channels; an unknown option.
        DataError: absent, damaged, or no ONNX file.
    """

    def __init__(
        self,
        name: str,
        path: str | Path,
        output: str = "probability",
        expects: str = "imagenet",
        input_size: tuple[int, int] | None = None,
        output_name: str = "",
    ) -> None:
        self.path = Path(path)
        self._session = _onnx_session(name, self.path)
        self._input, self._dtype, self._batch, fixed = _onnx_input(name, self._session)
        self._output = _onnx_output(name, self._session, output_name)
        if fixed is not None and input_size is not None and fixed != input_size:
            raise ConfigError(f"The expert '{name}' takes {fixed} only; leave input_size={input_size} out.")
        super().__init__(name, output, expects, fixed or input_size)

    def _compute(self, x: Tensor) -> Any:
        values = x.cpu().numpy().astype(self._dtype)
        step = self._batch or len(values)
        found = []
        for start in range(0, len(values), step):
            part = values[start : start + step]
            full = np.concatenate([part, np.repeat(part[-1:], step - len(part), axis=0)])
            found.append(self._session.run([self._output], {self._input: full})[0][: len(part)])
        return torch.from_numpy(np.concatenate(found).astype(np.float32))


def _onnx_session(name: str, path: Path) -> Any:
    if not path.is_file():
        raise DataError(f"The expert '{name}': there is no file '{path}'.")
    try:
        import onnxruntime
    except ImportError:
        raise MissingExtraError("onnxruntime", "onnx", f"The expert '{name}'") from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # spinning takes the cores from others
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions share no base class
        raise DataError(f"ONNX Runtime can't load '{path}' of expert '{name}': {short(error)}.") from None


def _onnx_input(name: str, session: Any) -> tuple[str, Any, int | None, tuple[int, int] | None]:
    """Name, dtype, fixed batch and fixed ``(h, w)`` of the one input."""
    inputs = session.get_inputs()
    if len(inputs) != 1:
        names = ", ".join(i.name for i in inputs)
        raise ConfigError(f"The expert '{name}' takes {len(inputs)} inputs ({names}); export it with the photo alone.")
    shape, kind = list(inputs[0].shape), inputs[0].type
    if len(shape) != 4 or (isinstance(shape[1], int) and shape[1] != 3):
        fix = ""
        if len(shape) == 4 and shape[3] == 3:
            fix = " Channels are last: export it behind x.permute(0, 2, 3, 1)."
        elif len(shape) == 3:
            fix = " The batch is missing: export it behind x[0]."
        elif len(shape) == 4 and shape[1] == 1:
            fix = " It takes grey: export it behind x.mean(1, keepdim=True)."
        raise ConfigError(f"The expert '{name}' takes an input of shape {shape}; (N, 3, H, W) is wanted.{fix}")
    kinds = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}
    if kind not in kinds:
        raise ConfigError(f"The expert '{name}' takes {kind}; float is wanted. Export it behind a cast from float.")
    batch, _, height, width = (n if isinstance(n, int) and n > 0 else None for n in shape)
    if (height is None) != (width is None):
        raise ConfigError(
            f"The expert '{name}' fixes one side of {shape}; export it with both sides free, or both fixed."
        )
    return inputs[0].name, kinds[kind], batch, (height, width) if height is not None and width is not None else None


def _onnx_output(name: str, session: Any, wanted: str) -> str:
    outputs = {o.name: list(o.shape or []) for o in session.get_outputs()}
    if wanted:
        if wanted not in outputs:
            raise ConfigError(unknown(f"output_name of expert '{name}':", wanted, outputs))
        return wanted
    fitting = [n for n, s in outputs.items() if len(s) == 4 and (not isinstance(s[1], int) or s[1] in (1, 2))]
    if len(fitting) == 1 or (len(outputs) == 1 and not next(iter(outputs.values()))):
        return fitting[0] if fitting else next(iter(outputs))
    shown = ", ".join(f"{n} {s}" for n, s in outputs.items())
    if fitting:
        raise ConfigError(f"The expert '{name}' gives several maps ({shown}); say which with output_name.")
    raise ConfigError(
        f"The expert '{name}' gives {shown}; (N, 1, H, W) or (N, 2, H, W) is wanted."
        + fix_for(next(iter(outputs.values())))
    )
