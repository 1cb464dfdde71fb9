"""Data files: reading them, and telling whether they are the same as before.

Files are read, never mapped into memory: a file that is cut off by another process while it is
mapped ends this one without a word.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from .errors import RunError

WHOLE = 256 * 2**20  # bytes up to which a file is hashed in full
BLOCK, BLOCKS = 2**20, 64


def read_file(path: str | Path) -> bytes:
    """The bytes of a data file. RunError if it cannot be read."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise unreadable(path, error) from None


def read_text(path: str | Path, content: bytes) -> str:
    """The bytes of a file as UTF-8 text. RunError with the line where they are not."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        place = content[: error.start].count(b"\n") + 1
        raise RunError(f"{path}, line {place}: not UTF-8 text.") from None


def unreadable(path: str | Path, error: OSError) -> RunError:
    """What to say of a data file that the system does not give."""
    if isinstance(error, FileNotFoundError):
        return RunError(f"there is no data file {path}.\nPut it there, or change the path.")
    return RunError(f"the data file {path} cannot be read: {error.strerror}.")


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class RandomAccess:
    """A file of which any part can be read, from several threads at once.

    size: its bytes, when it was opened
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        try:
            self._file = open(self.path, "rb")  # noqa: SIM115  (open as long as this lives)
        except OSError as error:
            raise unreadable(path, error) from None
        self.size = os.fstat(self._file.fileno()).st_size

    def read(self, start: int, count: int) -> bytes:
        """`count` bytes from `start` on. RunError if the file has become shorter."""
        parts = []
        while count:
            try:
                part = os.pread(self._file.fileno(), count, start)
            except OSError as error:
                raise unreadable(self.path, error) from None
            if not part:
                raise RunError(
                    f"{self.path} has become shorter while it was in use: it had {self.size:,}"
                    f" bytes, and ends at {start:,} now.\nPut the whole file back, and resume."
                )
            parts.append(part)
            start, count = start + len(part), count - len(part)
        return b"".join(parts)

    def fingerprint(self) -> dict:
        """What tells this file from another: its size and a hash.

        Of a large file 64 blocks of one MiB are hashed, the first and the last among them.
        """
        whole = self.size <= WHOLE
        starts: Iterable[int] = range(0, self.size, BLOCK)
        if not whole:
            starts = ((self.size - BLOCK) * i // (BLOCKS - 1) for i in range(BLOCKS))
        found = hashlib.sha256()
        for start in starts:
            found.update(self.read(start, min(BLOCK, self.size - start)))
        return {
            "bytes": self.size,
            "sha256": found.hexdigest(),
            **({} if whole else {"hashed": f"{BLOCKS} blocks of {BLOCK} bytes"}),
        }
