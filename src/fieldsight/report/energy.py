"""The energy line of every card: counts and joules by the same code and constants as the system `energy`."""

from __future__ import annotations

from fieldsight.model import Model


def energy_line(model: Model) -> str:
    """Parameters, MACs, activations and microjoules of one input of a model's graph, with profile and convention."""
    from fieldsight.profile import count_module, joules_line

    typical = model.typical()
    one = [typical[name] for name in model.input_names]
    counts = count_module(model.graph(), *one)
    shape = " x ".join(str(n) for n in one[0].shape[1:])
    return f"{joules_line(counts)} for one input of {shape}"
