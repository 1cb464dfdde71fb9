"""The commands on checkpoints and files of weights: `netwright ckpt`."""

from __future__ import annotations

import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .messages import WRONG, teaches

if TYPE_CHECKING:
    from .formats import Weights
    from .formats.compare import Difference

EPILOG = """
\b
WHAT is a run (then its newest checkpoint is taken), a checkpoint, or weights in another format:
safetensors, msgpack of Flax, .npz of numpy, a folder of Orbax, a pickle with --allow-pickle.
\b
  netwright ckpt ls runs/mlp                            the checkpoints of a run
  netwright ckpt ls runs/mlp/checkpoints/step-00000500  what is in one
  netwright ckpt verify runs/mlp                        reads every byte
  netwright ckpt diff runs/mlp runs/mlp-2 --only params
  netwright ckpt export runs/mlp --only params --to mlp.safetensors
  netwright ckpt archive runs/mlp -o mlp.tar.zst        one small file
  netwright ckpt archive --extract mlp.tar.zst -o runs/mlp/checkpoints
  netwright train examples/mlp --init-from mlp.safetensors
"""
TROUBLE = 2  # exit code of diff: 0 the same, 1 different, 2 it could not be told
MOST_ROWS = 60  # without --all


class LeafPath(click.ParamType):
    """A path of leaves, `params.blocks.attn`."""

    name = "path"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        parts = tuple(value.split("."))
        if not all(parts):
            self.fail(f"{value!r} is no path, such as params.blocks.attn", param, ctx)
        return parts


what = click.argument("what", type=click.Path(path_type=Path), metavar="WHAT")
as_json = click.option("--json", "as_json", is_flag=True, help="As JSON, for programs.")
only = click.option(
    "--only", type=LeafPath(), multiple=True, metavar="PATH",
    help="What is at or below a path, such as params.gpt.blocks. May be repeated.",
)  # fmt: skip
pickles = click.option(
    "--allow-pickle", is_flag=True,
    help="Take arrays, and nothing else, from a pickle; in a process of its own.",
)  # fmt: skip


@click.group(epilog=EPILOG)
def ckpt() -> None:
    """Look at checkpoints, compare them, bring them into other formats, pack them."""


def opened(path: Path, allow_pickle: bool, only: tuple[tuple[str, ...], ...] = ()) -> Weights:
    """What is at or below some paths of weights of any format."""
    from .formats import open_weights
    from .formats.exporting import chosen

    return chosen(open_weights(path, allow_pickle=allow_pickle), only)


def _echo_json(value: Any) -> None:
    import json  # not at the top: no other command waits for it

    click.echo(json.dumps(value, indent=1))


# ls


@ckpt.command()
@what
@only
@click.option("--all", "all_rows", is_flag=True, help="A line for every array, alike or not.")
@pickles
@as_json
@teaches
def ls(what: Path, only: tuple, all_rows: bool, allow_pickle: bool, as_json: bool) -> None:
    """List the checkpoints of a run, or the arrays in a checkpoint or file.

    Arrays that differ in one number of their paths, such as those of layers that are written out,
    share a line: blocks_{0..11}.wq.
    """
    from .formats import opening

    folder = opening.checkpoints_of(what)
    if folder is not None and not only:
        _list_run(what, folder, as_json)
    else:
        _list_leaves(opened(what, allow_pickle, only), all_rows, as_json)


def _list_run(run: Path, folder: Path, as_json: bool) -> None:
    from .checkpoint_tables import print_table, size
    from .runtime.checkpoint import steps

    found = [_about(path) for path in steps(folder).values()]
    if as_json:
        _echo_json({"kind": "run", "path": str(run), "checkpoints": found})
        return
    rows = [(str(c["step"]), *_in_words(c), c["written"], size(c["bytes"])) for c in found]
    print_table(("step", "what", "held out", "written", "size"), rows, numeric=1)
    count = f"{len(found)} checkpoint{'s' if len(found) != 1 else ''}"
    click.echo(f"{count} in {size(sum(c['bytes'] for c in found))}, in {folder}")


def _in_words(c: dict[str, Any]) -> tuple[str, str]:
    """What a checkpoint is, and how good it was."""
    from .formats import shown

    if c["problem"]:
        return (c["problem"].partition(" (")[0], "")  # the rest is for verify to say
    metrics = ", ".join(f"{shown((name,))} {value:.4f}" for name, value in c["evaluation"].items())
    pinned = ", pinned" if c["pinned"] else ""
    return (f"format {c['format']}, {c['leaves']} arrays{pinned}", metrics)


def _about(path: Path) -> dict[str, Any]:
    """What is told of a checkpoint without reading its arrays."""
    from .runtime.checkpoint import Broken, open_checkpoint
    from .runtime.errors import RunError

    files = [file for file in path.rglob("*") if file.is_file()]
    made: dict[str, Any] = {
        "step": int(path.name.removeprefix("step-")),
        "path": str(path),
        "bytes": sum(file.stat().st_size for file in files),
        "written": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(path.stat().st_mtime)),
        "pinned": (path / "pinned").exists(),
        "problem": None,
    }
    try:
        found = open_checkpoint(path).manifest
        metrics = found.about.get("evaluation")
        metrics = metrics if isinstance(metrics, dict) else {}
        numbers = {n: v for n, v in metrics.items() if isinstance(v, int | float)}
        made |= {"format": found.format, "leaves": len(found.leaves), "evaluation": numbers}
    except Broken as error:
        made["problem"] = f"damaged: {error}"
    except RunError as error:
        made["problem"] = str(error).splitlines()[0]
    return made


def _list_leaves(weights: Weights, all_rows: bool, as_json: bool) -> None:
    from .checkpoint_tables import Rows, collapsed, print_table, size
    from .formats import shown

    leaves = weights.leaves.items()
    total = sum(leaf.nbytes for _, leaf in leaves)
    if as_json:
        rows = [
            {"path": path, "shape": leaf.shape, "dtype": leaf.dtype, "bytes": leaf.nbytes}
            for path, leaf in leaves
        ]
        made = {"kind": weights.kind, "path": weights.name, **weights.about, "bytes": total}
        made["leaves"] = rows
        _echo_json(made)
        return
    lines = [Rows(shown(p), leaf, 1) for p, leaf in leaves] if all_rows else collapsed(leaves)
    cells = [
        (row.name, str(row.leaf), f"× {row.count}" if row.count > 1 else "",
         size(row.leaf.nbytes * row.count))
        for row in lines
    ]  # fmt: skip
    print_table(("path", "array", "", "size"), cells, numeric=2)
    step = f", step {weights.about['step']}" if "step" in weights.about else ""
    click.echo(f"{len(leaves):,} arrays in {size(total)}; {weights.kind}{step}: {weights.name}")


# verify


@ckpt.command()
@what
@pickles
@as_json
@teaches
def verify(what: Path, allow_pickle: bool, as_json: bool) -> None:
    """Read every byte of WHAT and compare it with its checksum; of a run, all its checkpoints.

    The data are read from the disk, not from what the system keeps of them in memory. What is
    damaged is named, and the exit code is then 1. Of other formats, which keep no checksums, this
    says only whether every array can be read.
    """
    from .checkpoint_tables import size
    from .formats import opening, shown
    from .formats.common import FormatError

    folder = opening.checkpoints_of(what)
    if folder is not None:
        from .runtime.checkpoint import steps

        checked = [_verified(path) for path in steps(folder).values()]
    elif opening.is_checkpoint(what):
        checked = [_verified(what)]
    else:
        weights = opened(what, allow_pickle)
        problems = []
        for path in weights.leaves:
            try:
                weights.read(path)
            except FormatError as error:
                problems.append(f"{shown(path)}: {error.diagnostics[0].message}")
        total = sum(leaf.nbytes for leaf in weights.leaves.values())
        checked = [{"path": str(what), "bytes": total, "problems": problems, "checksums": False}]
    damaged = [c for c in checked if c["problems"]]
    if as_json:
        _echo_json({"whole": not damaged, "checked": checked})
    else:
        for c in checked:
            kind = "whole" if c["checksums"] else "readable; its format keeps no checksums"
            click.echo(f"{c['path']}: {'damaged' if c['problems'] else kind}, {size(c['bytes'])}")
            for problem in c["problems"]:
                click.echo(f"  {problem}")
    if damaged:
        sys.exit(WRONG)


def _verified(path: Path) -> dict[str, Any]:
    from .runtime.checkpoint import Broken, open_checkpoint
    from .runtime.errors import RunError

    total = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    try:
        problems = open_checkpoint(path).verify(from_disk=True)
    except (Broken, RunError) as error:
        problems = [str(error)]
    return {"path": str(path), "bytes": total, "problems": problems, "checksums": True}


# diff


@ckpt.command()
@click.argument("a", type=click.Path(path_type=Path))
@click.argument("b", type=click.Path(path_type=Path))
@only
@click.option(
    "--rtol", type=click.FloatRange(0), default=0.0, metavar="X",
    help="Take values as equal where |A - B| <= atol + rtol * max(|A|, |B|).",
)  # fmt: skip
@click.option("--atol", type=click.FloatRange(0), default=0.0, metavar="X", help="The same.")
@click.option("--all", "all_rows", is_flag=True, help="A line for every array that differs.")
@pickles
@as_json
@partial(teaches, code=TROUBLE)
def diff(
    a: Path,
    b: Path,
    only: tuple,
    rtol: float,
    atol: float,
    all_rows: bool,
    allow_pickle: bool,
    as_json: bool,
) -> None:
    """Tell by path what differs between A and B, which may be of different formats.

    Without a tolerance the bits are compared. Where only one of them has anything at --only PATH,
    that is compared with all of the other, as what `export --only PATH` has written. The exit code
    is 0 if all is the same, 1 if something differs, 2 if A or B cannot be read.
    """
    from .checkpoint_tables import print_table
    from .formats import shown
    from .formats.compare import differences
    from .formats.exporting import chosen

    one, other = opened(a, allow_pickle), opened(b, allow_pickle)
    for path in only:
        if not one.below(path) and not other.below(path):
            chosen(one, (path,))  # says that it is not there
    if len(only) == 1 and one.below(only[0]) != other.below(only[0]):
        one, other = (chosen(w, only) if w.below(only[0]) else w for w in (one, other))
    else:
        one, other = one.part(only), other.part(only)
    differing = list(differences(one, other, rtol=rtol, atol=atol))
    found = [d for d in differing if d.matters]
    if as_json:
        _echo_json({"same": not found, "differences": [_as_dict(d) for d in found]})
    elif found:
        rows = [(shown(d.path), *_cells(d)) for d in found]
        cut = rows if all_rows else rows[:MOST_ROWS]
        print_table(("path", "array", "unequal", "max abs", "max rel"), cut, numeric=3)
        if len(cut) < len(rows):
            click.echo(f"… and {len(rows) - len(cut):,} more; --all shows them")
        count = len({*one.leaves, *other.leaves})
        click.echo(f"{len(found):,} of {count:,} arrays differ;  A: {one.name}  B: {other.name}")
    elif differing:
        click.echo(f"no differences beyond the tolerance; {len(differing)} within it")
    else:
        click.echo("no differences")
    if found:
        sys.exit(WRONG)


def _cells(d: Difference) -> tuple[str, str, str, str]:
    if d.a is None or d.b is None:
        return (f"only in A: {d.a}" if d.b is None else f"only in B: {d.b}", "", "", "")
    what = str(d.a) if d.a == d.b else f"{d.a} → {d.b}"
    if d.unequal is None:
        return (what, "", "", "")
    return (what, f"{d.unequal:,}", f"{d.absolute:.3g}", f"{d.relative:.3g}")


def _as_dict(d: Difference) -> dict[str, Any]:
    def side(leaf: Any) -> Any:
        return None if leaf is None else {"shape": leaf.shape, "dtype": leaf.dtype}

    return {
        "path": d.path, "a": side(d.a), "b": side(d.b), "unequal": d.unequal,
        "max_abs": d.absolute, "max_rel": d.relative,
    }  # fmt: skip


# export


@ckpt.command()
@what
@click.option(
    "--to", "target", type=click.Path(path_type=Path), required=True, metavar="FILE",
    help="A new file; .safetensors, .msgpack or .npz says the format.",
)  # fmt: skip
@only
@click.option(
    "--dtype", type=click.Choice(["float16", "bfloat16", "float32", "float64"]),
    help="Round floating point numbers to this; by default nothing is cast.",
)  # fmt: skip
@pickles
@teaches
def export(what: Path, target: Path, only: tuple, dtype: str | None, allow_pickle: bool) -> None:
    """Write the arrays of WHAT into a file of another format.

    With one --only, its path is left out of the names: of --only params, params.gpt.embed becomes
    gpt.embed. In safetensors and npz files dots part the names; msgpack is what Flax reads with
    flax.serialization.msgpack_restore. Arrays are read one at a time, and each is checked.
    """
    from .checkpoint_tables import size
    from .formats.exporting import cast, export, writer

    writer(target)  # a wrong name is told before anything is read
    weights = opened(what, allow_pickle, only)
    if dtype is not None:
        weights = cast(weights, dtype)
    written = export(weights, target)
    click.echo(f"{target}: {len(weights.leaves):,} arrays of {weights.name}, {size(written)}")


# archive


@ckpt.command()
@click.argument("what", type=click.Path(path_type=Path), metavar="WHAT")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="PATH",
    help="The archive, by default RUN-step-….tar.zst; with --extract the folder to put it into.",
)  # fmt: skip
@click.option("--extract", is_flag=True, help="Take the checkpoint out of the archive WHAT.")
@click.option(
    "--level", type=click.IntRange(1, 19), default=3, show_default=True, metavar="N",
    help="How hard to compress: 1 is fast, 19 is small.",
)  # fmt: skip
@teaches
def archive(what: Path, output: Path | None, extract: bool, level: int) -> None:
    """Pack a checkpoint into one compressed file, or take it out again.

    WHAT is a checkpoint, or a run, whose newest is taken. It is verified before it is packed, the
    archive is read back after it was written, and what is taken out is verified before it gets
    its name. The same checkpoint makes the same bytes. A name that ends in .tar is not compressed.
    """
    if extract:
        _extract(what, output or Path())
    else:
        _pack(what, output, level)


def _pack(what: Path, output: Path | None, level: int) -> None:
    from .checkpoint_tables import size
    from .formats import archive, opening
    from .formats.common import FormatError
    from .formats.exporting import replacing

    path = opening.checkpoint_path(what)
    target = output or Path(f"{_full_name(path)}.tar.zst")
    if not target.name.endswith(archive.SUFFIXES):
        raise FormatError(
            f"{target}: the name of an archive ends in .tar.zst, or in .tar",
            code="unknown-format",
            help=f"-o {target}.tar.zst",
        )
    compress = target.suffix != ".tar"
    if compress:
        archive.zstandard()
    _must_be_whole(path)
    with replacing(target) as file:
        packed = archive.pack(path, file, level=level, compress=compress)
        written = file.seek(0, 2)
    click.echo(f"{target}: {path}, {size(packed)} in {size(written)}, read back and compared")
    click.echo(f"take it out:  netwright ckpt archive --extract {target} -o FOLDER")


def _full_name(path: Path) -> str:
    """The name of a checkpoint, with that of its run if it is in one: `mlp-step-00000500`."""
    path = path.resolve()
    in_run = path.parent.name == "checkpoints"
    return f"{path.parent.parent.name}-{path.name}" if in_run else path.name


def _extract(what: Path, into: Path) -> None:
    import shutil
    import tempfile

    from .formats import archive
    from .formats.common import FormatError
    from .formats.opening import missing

    if not what.exists():
        raise missing(what)
    if what.is_dir() or not archive.is_archive(what):
        kind = "a folder" if what.is_dir() else "another file"
        raise FormatError(
            f"{what} is {kind}, and no archive of a checkpoint",
            code="no-archive",
            help="name what `netwright ckpt archive` has written: mlp-step-00000500.tar.zst",
        )
    new = not into.exists()
    into.mkdir(parents=True, exist_ok=True)
    hidden = Path(tempfile.mkdtemp(prefix=".writing-archive-", dir=into))
    try:
        made = archive.unpack(what, hidden)
        target = into / made.name
        if target.exists():
            raise FormatError(
                f"{target} is there already",
                "nothing is ever overwritten",
                code="file-exists",
                help="-o with another folder, or move that one away",
            )
        _must_be_whole(made)
        made.rename(target)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
        if new and not any(into.iterdir()):  # nothing has come of it
            into.rmdir()
    click.echo(f"{target}: taken out and verified")


def _must_be_whole(path: Path) -> None:
    from .formats.common import FormatError

    problems = _verified(path)["problems"]
    if problems:
        raise FormatError(f"{path} is damaged", *problems[:12])
