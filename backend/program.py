"""The program folder: a model, a training script, the runtime, the data, and what they came
from."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from ..ir.diagnostics import Diagnostic, InputError
from .naming import prose

FORMAT = 1
MANIFEST = "program.json"
REQUIREMENTS = ("jax>=0.10.2,<0.11", "ml-dtypes", "numpy>=2.0", "optax>=0.2.5")


@dataclass(frozen=True)
class ProgramFiles:
    """What a program is made of, before it is written.

    Attributes:
        name: what the program is called.
        model, train, plan: the texts of `model.py`, `train.py` and `plan.json`.
        origin: hashes of the model file, recipe and plan that it was made from.
        data: names in the program's `data/` folder, and where the files are now.
        sample: whether text can be sampled from it.
        packages: what must be installed beside `REQUIREMENTS`.
        peaks: by kind of device, operations a second of products in the policy's precision.
        warnings: what is not wrong, but worth saying.
    """

    name: str
    model: str
    train: str
    plan: str
    origin: Mapping[str, str]
    data: Mapping[str, Path] = field(default_factory=dict)
    sample: bool = False
    packages: tuple[str, ...] = ()
    peaks: Mapping[str, float] = field(default_factory=dict)
    warnings: tuple[Diagnostic, ...] = ()


def runtime_files() -> dict[str, bytes]:
    """The runtime as it is copied into programs, by path in the program's folder."""
    folder = _runtime_folder()
    return {f"runtime/{p.name}": p.read_bytes() for p in sorted(folder.glob("*.py"))}


def _runtime_folder() -> Path:
    import importlib.util

    package = __package__.rpartition(".")[0] + ".runtime"
    spec = importlib.util.find_spec(package)
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent


def contents(files: ProgramFiles) -> dict[str, bytes]:
    """Every file of a program but its data and manifest, by path in its folder."""
    found = {
        "model.py": files.model.encode(),
        "train.py": files.train.encode(),
        "plan.json": files.plan.encode(),
        "requirements.txt": ("\n".join((*REQUIREMENTS, *files.packages)) + "\n").encode(),
        "README.md": _readme(files).encode(),
    }
    return {**found, **runtime_files()}


def write_program(files: ProgramFiles, folder: Path) -> list[str]:
    """Write a program into a folder, and tell which files were written or changed.

    Files that a person has edited since they were written are never overwritten. A new folder is
    there whole or not at all, though other processes may write the same one.

    Raises:
        InputError: the folder holds something else, or a file in it was edited.
        OSError: the folder cannot be written.
    """
    if not folder.exists():
        made = folder.with_name(f".{folder.name}-{uuid4().hex}")
        try:
            changed = _update(files, made)
            os.rename(made, folder)
            return changed
        except OSError as error:
            shutil.rmtree(made, ignore_errors=True)
            if not folder.exists():
                error.filename = str(folder)  # a person knows nothing of the other
                raise
    return _update(files, folder)


def _update(files: ProgramFiles, folder: Path) -> list[str]:
    """Write what has changed."""
    new = contents(files)
    hashes = {path: _hash(content) for path, content in new.items()}
    before = _recorded(folder)
    if before is None and folder.exists() and any(folder.iterdir()):
        raise InputError(
            [
                Diagnostic(
                    "folder-not-empty",
                    f"{folder} holds something that is not a program of Netwright",
                    help="name a folder that does not exist yet, or empty this one",
                )
            ]
        )
    edited = [
        p for p, content in new.items() if _edited(folder / p, content, (before or {}).get(p))
    ]
    if edited:
        raise InputError(
            [
                Diagnostic(
                    "edited-program",
                    f"in {folder}, you have edited {', '.join(edited)}; writing the program again "
                    "would overwrite that",
                    facts=("the program is yours: nothing that you changed is lost",),
                    help="write the new program into another folder, and compare",
                )
            ]
        )
    changed = []
    for path, content in new.items():
        target = folder / path
        if not target.is_file() or target.read_bytes() != content:
            _write(target, content)
            changed.append(path)
    for stale in set(before or {}) - set(new):
        (folder / stale).unlink(missing_ok=True)
    for name, source in files.data.items():
        target = folder / "data" / name
        if not target.is_file() or _hash(target.read_bytes()) != _hash(source.read_bytes()):
            target.parent.mkdir(parents=True, exist_ok=True)
            partial = target.with_name(target.name + ".partial")
            shutil.copyfile(source, partial)
            os.replace(partial, target)
            changed.append(f"data/{name}")
    manifest = {
        "format": FORMAT,
        "name": files.name,
        "origin": dict(files.origin),
        "files": hashes,
        "peaks": dict(files.peaks),
    }
    text = (json.dumps(manifest, indent=2, sort_keys=True) + "\n").encode()
    if not (folder / MANIFEST).is_file() or (folder / MANIFEST).read_bytes() != text:
        _write(folder / MANIFEST, text)
    return changed


def _recorded(folder: Path) -> dict[str, str] | None:
    """The hashes of the files as they were written; None if this is no program's folder."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        return {str(k): str(v) for k, v in manifest["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _edited(path: Path, new: bytes, recorded: str | None) -> bool:
    if not path.is_file():
        return False
    now = _hash(path.read_bytes())
    return now not in (recorded, _hash(new))


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(content)
    os.replace(partial, path)


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _readme(files: ProgramFiles) -> str:
    sample = (
        "    python train.py sample --prompt TEXT   # text from the trained model\n"
        if files.sample
        else ""
    )
    return f"""# {prose(files.name)}

A training program in JAX. It was written by Netwright and does not need it: the files are yours to
read, change and run.

    pip install -r requirements.txt
    python train.py                        # trains; the run is kept in run/
    python train.py --resume               # goes on where it was stopped
    python train.py evaluate               # the newest checkpoint on the held-out data
    python train.py diagnose               # what went wrong in a step that was not finite
{sample}
| file | what it holds |
|---|---|
| `model.py` | the model: one function a layer, parameters as nested dicts |
| `train.py` | the recipe: data, optimizer, how long |
| `runtime/` | the training loop, checkpoints, data sources, metrics |
| `plan.json` | the plan that `model.py` was written from: precision, sharding, memory |
| `program.json` | versions, hashes of what was written, how fast devices are |
"""
