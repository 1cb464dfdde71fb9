"""What a run is made of: it stands in each checkpoint, and is compared when the run goes on."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tokenize
from collections.abc import Collection, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from .errors import RunError
from .job import Job
from .source import Source

KINDS = ("model", "data", "batch")
"""What may be another one when a run goes on, if it is allowed."""

PACKAGES = ("jax", "jaxlib", "numpy", "optax", "ml-dtypes")


def facts(job: Job, source: Source) -> dict[str, Any]:
    """What determines a run, as JSON.

    name, seed:  the job's
    program:     the SHA-256 of model.py; tokens: of its tokens, without comments and layout
    module:      the hash of the module that model.py was written from, None if it was edited since
    data:        what determines the batches, and the fingerprint of all that
    settings:    microbatches, loss scale, moving average
    precision:   the policy that model.py was written with, and what differs from it
    mesh:        the axes of the devices
    versions:    of Python and the packages that compute
    """
    text = Path(job.model.__file__).read_bytes()
    settings = job.settings
    return {
        "name": job.name,
        "seed": job.seed,
        "program": hashlib.sha256(text).hexdigest(),
        "tokens": hashlib.sha256("\0".join(_tokens(text)).encode()).hexdigest(),
        "module": _module(job.folder, text),
        "data": {**source.describe(), "fingerprint": source.fingerprint},
        "settings": {
            "microbatches": settings.microbatches,
            "loss_scale": settings.loss_scale,
            "ema": settings.ema,
        },
        "precision": _json(job.folder / "plan.json").get("precision"),
        "mesh": dict(job.mesh) if job.mesh else None,
        "versions": {"python": platform.python_version(), **_versions()},
    }


def changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, list[str]]:
    """What is no longer as it was, in words, by kind. Kinds without a change are left out."""
    old, new = _known(then, "data"), _known(now, "data")
    before, after = _known(then, "settings"), _known(now, "settings")
    found: dict[str, list[str]] = {kind: [] for kind in KINDS}
    if not _same_model(then, now):
        found["model"] = ["model.py is not the one that the checkpoint was made with"]
    for name in sorted(old.keys() | new.keys()):
        if name not in ("fingerprint", "position"):
            kind = "batch" if name == "batch" else "data"
            found[kind] += _changed(name, old.get(name), new.get(name))
    one = 1  # what checkpoints of format 1 do not tell
    found["batch"] += _changed(
        "microbatches", before.get("microbatches", one), after.get("microbatches", one)
    )
    return {kind: lines for kind, lines in found.items() if lines}


def refuse(found: Mapping[str, list[str]], allow: Collection[str]) -> None:
    """RunError if something has changed that is not allowed to."""
    refused = [kind for kind in found if kind not in allow]
    if refused:
        lines = [f"  {kind}: {line}" for kind in refused for line in found[kind]]
        flags = " ".join(f"--allow {kind}" for kind in found)
        raise RunError(
            "the run cannot go on as it would have:\n"
            + "\n".join(lines)
            + f"\nPut that back as it was; or, to go on with it as it is now, add {flags}."
        )


def _same_model(then: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    # Written again under another plan (unrolled, sharded) it is the same model.
    return any(
        then.get(name) is not None and then.get(name) == now.get(name)
        for name in ("program", "tokens", "module")
    )


def _changed(name: str, old: Any, new: Any) -> list[str]:
    return [] if old == new else [f"{name} was {_short(old)}, is {_short(new)}"]


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:16]}…{text[-16:]}"


def _known(about: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = about.get(name)
    return value if isinstance(value, Mapping) else {}


def _tokens(text: bytes) -> list[str]:
    ignored = (tokenize.COMMENT, tokenize.NL, tokenize.ENCODING)
    try:
        found = tokenize.tokenize(io.BytesIO(text).readline)
        return [token.string.strip() for token in found if token.type not in ignored]
    except (tokenize.TokenError, SyntaxError):
        return [text.decode(errors="replace")]


def _module(folder: Path, text: bytes) -> str | None:
    program = _json(folder / "program.json")
    written = _known(program, "files").get("model.py")
    if written != hashlib.sha256(text).hexdigest():
        return None
    module = _known(program, "origin").get("model")
    return module if isinstance(module, str) else None


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
