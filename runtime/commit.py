"""How a checkpoint comes to be in its folder, and how it goes: whole or not at all.

    a hidden folder  ->  its files, each synced, the manifest last  ->  the folder synced
                     ->  renamed to step-…  ->  the folder above synced

A kill or a loss of power at any moment leaves a hidden folder, which is no checkpoint, or the whole
one. Deletion goes the other way: the folder is hidden first and emptied then.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from . import manifest as manifests
from . import tensors
from .errors import RunError

WRITING, DELETING, DAMAGED = ".writing-", ".deleting-", "damaged-"


class NotWritten(RunError):
    """A checkpoint could not be written: the disk is full, or the folder is closed to us.

    The earlier ones are as they were.
    """


class NotDeleted(RunError):
    """A checkpoint was written, but earlier ones that it replaces could not be deleted."""


def commit(folder: Path, step: int, write: Callable[[Path], None], attempt: str = "") -> Path:
    """Have `write` fill a hidden folder, and make that the checkpoint of `step` in `folder`.

    With an `attempt`, a word that no earlier one had, other processes may have made it already.
    Raises NotWritten where the system refuses, or there is a checkpoint of this step already.
    """
    target, hidden = places(folder, step, attempt)
    try:
        make_folder(folder)
        if target.exists():
            raise NotWritten(
                f"there is a checkpoint {target} already, and none is ever overwritten.\n"
                "Move it away, or save into another folder."
            )
        if not attempt:
            shutil.rmtree(hidden, ignore_errors=True)
        hidden.mkdir(exist_ok=bool(attempt))
        write(hidden)
        sync_folder(hidden)
        os.rename(hidden, target)
    except OSError as error:
        shutil.rmtree(hidden, ignore_errors=True)
        raise not_written(folder, step, error) from None
    except BaseException:
        shutil.rmtree(hidden, ignore_errors=True)
        raise
    try:
        sync_folder(folder)
    except OSError as error:
        raise NotWritten(
            f"the checkpoint {target} is there, but may not outlive a loss of power: its name"
            f" cannot be synced: {error.strerror}.\nThe earlier ones are as they were."
        ) from None
    return target


def places(folder: Path, step: int, attempt: str = "") -> tuple[Path, Path]:
    """Where the checkpoint of a step stands, and where it is written."""
    return folder / f"step-{step:08d}", folder / f"{WRITING}{step:08d}{attempt}"


def not_written(folder: Path, step: int, error: OSError) -> NotWritten:
    """What to tell where a checkpoint could not be written."""
    return NotWritten(
        f"the checkpoint of step {step} cannot be written to {folder}: {error.strerror}.\n"
        "The earlier ones are as they were."
    )


def write_manifest(folder: Path, manifest: manifests.Manifest) -> None:
    """Write the manifest into a checkpoint's folder, after all else, and sync it."""
    text = manifests.encode(manifest)
    manifests.decode(text, str(folder))  # what could not be read is not written
    write_file(folder / manifests.NAME, text)


def write_file(path: Path, content: bytes) -> None:
    """Write a new file and sync it."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        tensors.write_all(handle, memoryview(content))
        os.fsync(handle)
    finally:
        os.close(handle)


def delete(path: Path) -> None:
    """Delete a checkpoint; a kill in the midst of it leaves none under its name."""
    doomed = path.with_name(DELETING + path.name)
    shutil.rmtree(doomed, ignore_errors=True)
    os.rename(path, doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def set_aside(path: Path) -> Path:
    """Rename a damaged checkpoint, so that it no longer counts as one."""
    target, number = path.with_name(DAMAGED + path.name), 1
    while target.exists():
        number += 1
        target = path.with_name(f"{DAMAGED}{path.name}-{number}")
    os.rename(path, target)
    sync_folder(path.parent)
    return target


def clean(folder: Path) -> None:
    """Remove what a killed process left half written or half deleted."""
    for pattern in (f"{WRITING}*", f"{DELETING}*"):
        for path in folder.glob(pattern):
            shutil.rmtree(path, ignore_errors=True)


def make_folder(path: Path) -> None:
    """Make a folder and those above it, so that they outlive a loss of power."""
    if path.is_dir():
        return
    make_folder(path.parent)
    path.mkdir(exist_ok=True)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Have the names in a folder on the disk."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
