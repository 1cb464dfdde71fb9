"""Help when a loss or a gradient is not finite: which value was the first, where, and why.

The step is made once more from the same state and the same batch, value by value (`nonfinite`);
what is found is told with its place in the model (`places`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from .job import Job
from .nonfinite import Origin, Range, first_nonfinite
from .places import Place, Source, is_backward
from .state import TrainState, leaves_by_path
from .step import accumulated

OVERFLOWS = {
    *("add", "add_any", "convert_element_type", "cumsum", "div", "dot_general", "integer_pow"),
    *("mul", "pow", "reduce_sum", "square", "sub", "conv_general_dilated"),
}

BAD = (
    "the loss is not finite",
    "the loss is finite, but not its gradient",
    "the loss and its gradient are finite, but not the state that the model keeps",
)


def diagnose(job: Job, state: TrainState, batch: Mapping[str, Any], folder: Path) -> list[str]:
    """What goes wrong in a step, in lines for a person; also written to `folder`, as JSON.

    state: as it was before the step
    batch: that of the step, as it was given to it
    """
    origin, group = first_nonfinite(
        accumulated(job.model.loss, job.settings),
        (state, dict(batch)),
        lambda results: [results[2]["loss"][0], results[0], results[1]],
    )
    place = Source(job.model).place(origin) if origin is not None else None
    lines = told(origin, place, state, batch, group)
    _report(folder, int(state.step) + 1, lines, origin, place)
    return lines


def told(
    origin: Origin | None,
    place: Place | None,
    state: TrainState,
    batch: Mapping[str, Any],
    group: int,
) -> list[str]:
    """An origin in lines for a person; group: which of `BAD` it reached."""
    if origin is None:
        return [
            "computed one value after the other, everything is finite up to the optimizer: either",
            "a number of its own state went bad (0/0, without any gradient), or the compiled step",
            "rounds elsewhere, and something is just at the end of its dtype.",
        ]
    if origin.equation is None:
        names = [*leaves_by_path(state), *(("batch", name) for name in sorted(batch))]
        name = names[origin.given]
        what = f"{'.'.join(name[1:])} ({name[0]})"
        numbers = _numbers(origin.results[0])
        return [f"{what} is not finite before the step begins: {numbers}"]
    eqn = origin.equation
    turned = is_backward(eqn) or any(is_backward(outer) for outer in origin.outer)
    where = "in the backward pass" if turned else ""
    lines = [BAD[group]]
    if place is not None:
        path = place.path or "the model itself"
        path += f"/{place.label}" if place.label else ""
        turns = [f"({turn})" for turn in place.turns]
        at = ", ".join(part for part in (place.origin, f"model.py:{place.line}") if part)
        lines += [" ".join(p for p in ("the first bad value:", path, *turns, where) if p)]
        lines += [f"{at}:", *_quoted(place)]
    else:
        lines += [f"the first bad value is made {where or 'outside of the model'}"]
    inside = f" (in {place.within})" if place is not None and place.within else ""
    lines += [f"{eqn.primitive.name}{inside} gives {_named(origin.results)}"]
    lines += [f"from {_named(origin.operands)}"] if origin.operands else []
    return lines + _advice(origin, place, backward=group == 1)


def _quoted(place: Place) -> list[str]:
    """The statement, with the expression underlined; long ones are cut around it."""
    begin, end = place.part
    start = max(0, min(begin - 8, len(place.source) - 88))
    text = place.source[start : start + 88]
    left, right = "…" if start else "", "…" if start + 88 < len(place.source) else ""
    width = max(1, min(end - start, len(text)) - (begin - start))
    return [
        f"    {left}{text}{right}",
        f"    {' ' * (begin - start + len(left))}{'^' * width}",
    ]


def _named(ranges: tuple[Range, ...]) -> str:
    texts = []
    for found in ranges:
        shape = ", ".join(map(str, found.shape))
        texts.append(f"{found.dtype}[{shape}]{_numbers(found, ': ')}")
    return "; and ".join(texts)


def _numbers(found: Range, before: str = "") -> str:
    """What numbers there are."""
    parts = []
    for count, word in ((found.nan, "NaN"), (found.infinite, "infinite")):
        if count:
            of = "all" if count == found.size else f"{count:,} of {found.size:,}"
            parts.append(f"{of} {word}")
    if found.least is not None and found.most is not None:
        rest = "the rest " if parts else ""
        span = _number(found.least)
        span += f" to {_number(found.most)}" if found.most != found.least else ""
        parts.append(rest + span)
        if found.zeros and found.least != found.most:
            parts.append(f"{found.zeros:,} zero")
    return before + ", ".join(parts) if parts else ""


def _number(value: float) -> str:
    return f"{value:.4g}"


def _advice(origin: Origin, place: Place | None, *, backward: bool) -> list[str]:
    """What a person may do about it."""
    assert origin.equation is not None
    name, result = origin.equation.primitive.name, origin.results[0]
    given = origin.operands
    if name == "div" and len(given) > 1 and given[1].zeros:
        if backward:
            return [
                "the slope is infinite there, as that of sqrt is at 0. Choosing by where behind it",
                "does not help: choose what goes in, as in sqrt(where(x > 0, x, 1)).",
            ]
        return [f"{given[1].zeros:,} of what it divides by are 0: max(…, 1e-6) there, or a mask."]
    if name in ("log", "log1p") and result.infinite:
        return ["log of 0: log(x + 1e-6), or log_softmax where it is of a softmax."]
    if result.nan and name in ("log", "log1p", "sqrt", "rsqrt", "pow", "acos", "asin"):
        return [f"{name} of numbers that it is not defined for."]
    if result.nan and name == "sub" and any(r.infinite for r in given):
        return ["infinity minus infinity: of a softmax, a row of which everything is masked."]
    limit = float(jnp.finfo(result.dtype).max) if result.infinite else 0.0
    if name in ("exp", "exp2", "expm1", "sinh", "cosh", "logistic") or name in OVERFLOWS:
        if not limit:
            return []
        text = f"{result.dtype} ends at {limit:,.0f}" if limit < 1e6 else f"it ends at {limit:.3g}"
        if result.dtype == "float16":
            path = _authored(place.path) if place is not None and place.path else "its path"
            return [
                f'{text}: overrides = {{ "{path}" = "float32" }} under [precision], or the policy',
                "bfloat16, reaches further.",
            ]
        return [
            f"{text}: values grow without bound. A smaller learning rate, a longer warm-up, clip",
            "under [optimizer], or a norm before it, may help.",
        ]
    return []


def _authored(path: str) -> str:
    """A path without the numbers of copies."""
    return re.sub(r"\[\d+\]", "", path)


def _report(
    folder: Path, step: int, lines: list[str], origin: Origin | None, place: Place | None
) -> None:
    report = {
        "step": step,
        "place": None if place is None else asdict(place),
        "op": None if origin is None or origin.equation is None else origin.equation.primitive.name,
        "operands": [] if origin is None else [asdict(r) for r in origin.operands],
        "results": [] if origin is None else [asdict(r) for r in origin.results],
        "text": lines,
    }
    (folder / "report.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
