"""Messages of the elaboration in the notation of Python."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import replace

from ...ir.diagnostics import Diagnostic
from .ops import ops

_USE = re.compile(r"^use (\w+) = (?:(repeat|each)\[(\w+)\] )?([\w.]+(?:\[.*?\])?)(?:\((.*)\))?$")
_VARIABLE = re.compile(r"^(param|state) (\w+): (?:int|bool)?(\[.*?\]) = (.*)$")


def told(diagnostic: Diagnostic, unbound: Collection[str]) -> Diagnostic:
    """A message about a model that is written in Python.

    Args:
        unbound: dims without a size that no model and no loss takes from its data.
    """
    if diagnostic.span is not None and diagnostic.span.file.endswith(".nw"):
        return diagnostic
    d = replace(diagnostic, help=in_python(diagnostic.help))
    name = d.message.rpartition(" ")[2]
    if d.code == "unknown-dim" and name in unbound:
        return replace(
            d,
            message=f"{name} has no size here",
            facts=(
                "a dim without a size is given one by the data, by an arrow, or by a use",
                f"no argument of a model or loss has {name}",
            ),
            help=f"{name} = nw.dims({name}=…)",
        )
    return d


def in_python(help: str) -> str:
    """A suggestion in the notation of model files, in that of Python."""
    if not help:
        return help
    found = help.replace(" -> ", " >> ").replace(" <- ", " << ").replace("    # ", "  # ")
    names = "|".join(sorted(ops(), key=len, reverse=True))
    found = re.sub(rf"(?<![\w.`])({names})(?=[\[(])", r"nw.\1", found)
    found = re.sub(r"(?<=[\[,( ])([A-Z]\w*) = (\w+)(?=[\],])", r"\1: \2", found)
    used = _USE.match(found)
    if used:
        name, mode, along, layer, options = used.groups()
        call = f"nw.{mode}[{along}]" if mode else "nw.use"
        more = f", {options}" if options else ""
        return f"{name} = {call}({layer}{more})"
    variable = _VARIABLE.match(found)
    if variable:
        kind, name, dims, init = variable.groups()
        return f'{name} = nw.{kind}("{name}", {dims}, {init})'
    return re.sub(r"^declare it: dims: (\w+) = (.*)$", r"\1 = nw.dims(\1=\2)", found)
