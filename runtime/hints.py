"""The commands that a person may want next, spelled out."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Hints:
    """Commands for one run, in the words of whoever started it.

    style:   "python" for ``python train.py …``, "netwright" for ``netwright … RUN``
    script:  the training script as it was called
    run:     the run's folder
    default: whether the script would take that folder anyway
    joined:  the options by which this process trains with others
    """

    style: str
    script: str
    run: Path
    default: bool
    joined: tuple[str, ...] = ()

    def resume(self, *options: str) -> str:
        return self._join("resume", ["--resume"], (*options, *self.joined))

    def sample(self, *options: str) -> str:
        return self._join("sample", ["sample"], options)

    def diagnose(self) -> str:
        return self._join("diagnose", ["diagnose"], ())

    def _join(self, command: str, words: list[str], options: tuple[str, ...]) -> str:
        if self.style == "netwright":
            return shlex.join(["netwright", command, str(self.run), *options])
        run = [] if self.default else ["--run", str(self.run)]
        return shlex.join(["python", self.script, *words, *run, *options])
