"""Learning curves of runs as a picture: what `netwright plot` draws."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .ir.diagnostics import Diagnostic, InputError
from .logs import rows_of
from .runtime.summary import is_step

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito, Color Universal Design, 2008; yellow and black left out.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
FAINT, TEXT = "#B8BCC4", "#3A3F47"
DECADE = 12.0  # by this factor must values differ for a logarithmic axis

STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": TEXT,
    "text.color": TEXT,
    "xtick.color": TEXT,
    "ytick.color": TEXT,
    "axes.grid": True,
    "grid.color": "#ECEEF1",
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "svg.fonttype": "none",
    "svg.hashsalt": "netwright",
}


@dataclass(frozen=True)
class Curve:
    """What is drawn of a run.

    steps, values: the metric of training steps, without those that were skipped
    held_out:      (step, value) of each evaluation
    rates, speeds, norms: learning rate, units a second, gradient norm of the same steps; empty
                   where the log has none
    unit:          of speeds
    resumed:       steps at which a process took the run up again
    skipped:       steps without an update
    """

    name: str
    steps: list[int]
    values: list[float]
    held_out: list[tuple[int, float]]
    rates: list[float]
    speeds: list[float]
    norms: list[float]
    unit: str
    resumed: list[int]
    skipped: list[int]


def curve(run: Path, metric: str) -> Curve:
    """The curve of a run's folder.

    Raises:
        InputError: there is no run, or its log has no such metric.
    """
    rows = rows_of(run)
    steps = [row for row in rows if is_step(row)]
    good = [row for row in steps if row.get(metric) is not None]
    if not good:
        known = sorted({n for row in steps for n, v in row.items() if isinstance(v, float)})
        facts = (f"there are {', '.join(known)}",) if known else ("no step has been made yet",)
        raise InputError([Diagnostic("no-metric", f"{run} has no metric {metric}", facts=facts)])
    units = [n for n in good[-1] if n.endswith("_per_second") and n != "examples_per_second"]
    unit = units[0] if units else "examples_per_second"
    return Curve(
        name=run.resolve().name,
        steps=[row["step"] for row in good],
        values=[row[metric] for row in good],
        held_out=[
            (row["step"], row[metric])
            for row in rows
            if row.get("split") == "held_out" and row.get(metric) is not None
        ],
        rates=_column(good, "learning_rate"),
        speeds=_column(good, unit),
        norms=_column(good, "gradient_norm"),
        unit=unit.removesuffix("_per_second"),
        resumed=[row["step"] for row in rows if row.get("event") == "restore"],
        skipped=[row["step"] for row in steps if row.get("skipped")],
    )


def _column(rows: Sequence[dict[str, Any]], name: str) -> list[float]:
    values = [row.get(name) for row in rows]
    return (
        [math.nan if v is None else v for v in values] if any(v is not None for v in values) else []
    )


def plot(runs: Iterable[Path], metric: str = "loss", log_x: bool = False) -> Figure:
    """A figure of the curves of runs: smoothed over raw, held-out points, and small panels.

    Raises:
        InputError: a run cannot be read, or matplotlib is not installed.
    """
    curves = [curve(Path(run), metric) for run in runs]
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError:
        problem = Diagnostic(
            "not-installed",
            "drawing needs matplotlib",
            help="pip install 'netwright[plot]', or pip install matplotlib",
        )
        raise InputError([problem]) from None
    with rc_context(STYLE):
        figure = Figure(figsize=(8.6, 5.4), layout="constrained")
        panels = _panels(curves)
        grid = figure.add_gridspec(2, max(1, len(panels)), height_ratios=[3.1, 1])
        main = figure.add_subplot(grid[0, :] if panels else grid[:, :])
        _draw_main(main, curves, metric, log_x)
        for place, (title, field, logarithmic) in enumerate(panels):
            axes = figure.add_subplot(grid[1, place])
            _draw_small(axes, curves, title, field, logarithmic)
            axes.set_xscale(main.get_xscale())
            axes.set_xlim(main.get_xlim())
        return figure


def draw(runs: Iterable[Path], file: Path, metric: str = "loss", log_x: bool = False) -> None:
    """Write that figure to a file, in the format that its name ends in.

    Raises:
        InputError: also where the format is not known.
    """
    figure = plot(runs, metric, log_x)
    ending = file.suffix.lstrip(".").lower()
    if ending not in figure.canvas.get_supported_filetypes():
        problem = Diagnostic(
            "picture-format",
            f"{file} does not say which format it is to have",
            help="a name that ends in .png, .svg or .pdf",
        )
        raise InputError([problem])
    # SVG has dates and random ids in it unless told; one log then always gives one picture.
    metadata = {"Date": None} if ending == "svg" else None
    from matplotlib import rc_context

    with rc_context(STYLE):
        figure.savefig(file, dpi=150, metadata=metadata)


def _panels(curves: Sequence[Curve]) -> list[tuple[str, str, bool]]:
    """The small panels for which there is something: title, field, whether logarithmic."""
    units = {c.unit for c in curves}
    speed = f"{units.pop()} per second" if len(units) == 1 else "per second"
    wanted = [
        ("learning rate", "rates", False),
        ("gradient norm", "norms", True),
        (speed, "speeds", False),
    ]
    return [panel for panel in wanted if any(getattr(c, panel[1]) for c in curves)]


def _draw_main(axes: Axes, curves: Sequence[Curve], metric: str, log_x: bool) -> None:
    ends = []
    single = len(curves) == 1
    for number, c in enumerate(curves):
        color = COLORS[number % len(COLORS)]
        smooth = smoothed(c.values)
        axes.plot(c.steps, c.values, color=color, alpha=0.22, linewidth=0.7)
        axes.plot(c.steps, smooth, color=color, linewidth=1.8, solid_capstyle="round")
        end = (c.steps[-1], smooth[-1])
        label = "training" if single else c.name
        if c.held_out:
            x, y = zip(*c.held_out, strict=True)
            axes.plot(
                x, y, color=color if not single else COLORS[1], linestyle=(0, (1, 1.6)),
                linewidth=1.1, marker="o", markersize=5.5, markeredgecolor="white",
                markeredgewidth=1.0, zorder=4, clip_on=False,
            )  # fmt: skip
            if single:
                ends.append((x[-1], y[-1], f"held out  {y[-1]:.4g}", COLORS[1]))
                label = f"{label}  {smooth[-1]:.4g}"
            else:
                label = f"{label}  {y[-1]:.4g}"
                end = (x[-1], y[-1])
        else:
            label = f"{label}  {smooth[-1]:.4g}"
        ends.append((*end, label, color))
        for step in c.resumed:
            axes.plot([step], [0.012], marker="^", markersize=5, color=color, clip_on=False,
                      transform=axes.get_xaxis_transform(), zorder=5)  # fmt: skip
        for step in c.skipped:
            axes.plot([step], [0.985], marker="x", markersize=4, color="#B3261E", clip_on=False,
                      transform=axes.get_xaxis_transform(), zorder=5)  # fmt: skip
    shown = [v for c in curves for v in _inner(c)]
    low, high = min(shown), max(shown)
    if low > 0 and high / low > DECADE:
        _logarithmic(axes)
        axes.set_ylim(low / 1.15, high * 1.15)
    else:
        room = 0.06 * (high - low) or 0.5
        axes.set_ylim(low - room, high + room)
    if log_x:
        axes.set_xscale("log")
    steps = max(c.steps[-1] for c in curves)
    axes.set_xlim(left=1 if log_x else 0, right=steps)
    axes.set_xlabel("step", loc="right", fontsize=8, labelpad=1)
    axes.set_title(_title(curves, metric), loc="left", fontsize=11, fontweight="bold")
    notes = ["faint: each step", "line: smoothed"]
    notes += ["dots: held out"] if any(c.held_out for c in curves) else []
    notes += ["▲ resumed"] if any(c.resumed for c in curves) else []
    notes += ["× skipped"] if any(c.skipped for c in curves) else []
    axes.set_title("   ".join(notes), loc="right", fontsize=8, color="#7A808A")
    _label_ends(axes, ends)


def _title(curves: Sequence[Curve], metric: str) -> str:
    return f"{curves[0].name}: {metric}" if len(curves) == 1 else metric


def _inner(c: Curve) -> list[float]:
    """The values that the axis must hold: all but the outermost hundredths, all of held-out."""
    ordered = sorted(v for v in c.values if math.isfinite(v))
    cut = len(ordered) // 200
    return [*ordered[cut : len(ordered) - cut or None], *(v for _, v in c.held_out)]


def _label_ends(axes: Axes, ends: list[tuple[float, float, str, str]]) -> None:
    """Labels at the right, beside the ends of lines and apart from each other."""
    figure = axes.figure
    assert figure is not None
    transform = axes.transData
    inverse = axes.transAxes.inverted()
    places = []
    for x, y, text, color in ends:
        height = inverse.transform(transform.transform((x, y)))[1]
        places.append([min(max(height, 0.0), 1.0), text, color])
    places.sort()
    apart = 0.052
    for lower, upper in itertools.pairwise(places):
        upper[0] = max(upper[0], lower[0] + apart)
    over = max(0.0, places[-1][0] - 1.0) if places else 0.0
    for height, text, color in places:
        axes.annotate(
            text, (1.0, height - over), xycoords="axes fraction", xytext=(7, 0),
            textcoords="offset points", color=color, va="center", fontsize=9, fontweight="bold",
        )  # fmt: skip


def _draw_small(
    axes: Axes, curves: Sequence[Curve], title: str, field: str, logarithmic: bool
) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    every: list[float] = []
    for number, c in enumerate(curves):
        values = getattr(c, field)
        if not values:
            continue
        color = COLORS[number % len(COLORS)]
        if field != "rates":
            axes.plot(c.steps, values, color=color, alpha=0.2, linewidth=0.6)
        lines = {"rates": (c.steps, values), "norms": (c.steps, smoothed(values))}
        line = lines[field] if field in lines else medians(c.steps, values)
        axes.plot(*line, color=color, linewidth=1.4)
        every += [v for v in line[1] if math.isfinite(v)]
    axes.set_title(title, loc="left", fontsize=9)
    low, high = (min(every), max(every)) if every else (0.0, 1.0)
    if logarithmic and low > 0 and high / low > DECADE:
        _logarithmic(axes)
        axes.set_ylim(low / 1.6, high * 1.6)
    else:
        axes.set_ylim(0, 1.25 * high or 1)
        axes.yaxis.set_major_locator(MaxNLocator(3))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: _short(v)))
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.tick_params(labelsize=8)


def _logarithmic(axes: Axes) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(10, numticks=5))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: _short(v)))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _short(value: float) -> str:
    """A number for an axis: 12k, 0.003, 3e-04."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}" if value == 0 or abs(value) >= 1e-4 else f"{value:.0e}"


def smoothed(values: Sequence[float]) -> list[float]:
    """The mean over a window of about a fortieth of the values around each, smaller at first."""
    half, count = len(values) // 80, len(values)
    sums, counts = [0.0], [0]
    for value in values:
        finite = math.isfinite(value)
        sums.append(sums[-1] + (value if finite else 0.0))
        counts.append(counts[-1] + finite)
    result = []
    for place in range(count):
        reach = min(half, place)
        low, high = place - reach, min(count, place + reach + 1)
        found = counts[high] - counts[low]
        result.append((sums[high] - sums[low]) / found if found else math.nan)
    return result


def medians(steps: Sequence[int], values: Sequence[float]) -> tuple[list[float], list[float]]:
    """The median in each of about a hundred parts, and where the parts' middles are."""
    width = max(1, len(values) // 100)
    x, y = [], []
    for start in range(0, len(values), width):
        part = [v for v in values[start : start + width] if math.isfinite(v)]
        if part:
            x.append(statistics.fmean(steps[start : start + width]))
            y.append(statistics.median(part))
    return x, y
