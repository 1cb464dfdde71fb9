"""A folder as one compressed file, a tar by Zstandard, and back.

The same folder makes the same bytes: names in order, no times, no owners. Each archive is read
back before it counts as written. Taken out are plain files below one folder and nothing else.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any

from .common import FormatError

MAGIC = b"\x28\xb5\x2f\xfd"
SUFFIXES = (".tar.zst", ".tzst", ".tar")
_MOST_FILES = 2**17
_LONGEST = 100  # bytes of a name; the old header of tar has no room for more
_PART = 1 << 20


def pack(folder: Path, archive: IO[bytes], *, level: int = 3, compress: bool = True) -> int:
    """Write the files of a folder into an archive, read it back, and compare.

    Args:
        folder: what to pack; its name is kept.
        archive: a file open for reading and writing, at its start.
        level: of the compression, 1 to 19; the higher, the slower and smaller.
        compress: whether it is compressed at all.

    Returns:
        The number of bytes packed.

    Raises:
        FormatError: the folder holds what is no plain file, what was read back differs, or
            Zstandard is not installed.
    """
    files = _files(folder)
    sums = {}
    with (
        _compressing(archive, level, compress) as stream,
        tarfile.open(fileobj=stream, mode="w|", format=tarfile.GNU_FORMAT) as tar,
    ):
        for name, path in files.items():
            entry = tarfile.TarInfo(name)
            with path.open("rb") as file:
                entry.size = os.fstat(file.fileno()).st_size
                summing = _Summing(file, entry.size)
                tar.addfile(entry, summing)
            sums[name] = (entry.size, summing.digest())
    archive.flush()
    os.fsync(archive.fileno())
    os.posix_fadvise(archive.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    archive.seek(0)
    back = {}
    with _telling():
        for entry, file in _entries(archive):
            summing = _Summing(file, entry.size)
            while summing.read(_PART):
                pass
            back[entry.name] = (entry.size, summing.digest())
    if back != sums:
        raise FormatError(f"the archive of {folder} does not hold what was put into it")
    return sum(size for size, _ in sums.values())


def unpack(archive: Path, into: Path) -> Path:
    """Take the one folder of an archive out, into an existing folder.

    Returns:
        The folder that was made.

    Raises:
        FormatError: the archive is damaged, or holds what `pack` does not write.
    """
    made: set[Path] = set()
    above: set[Path] = set()  # folders
    with archive.open("rb") as file, _telling():
        for entry, stream in _entries(file):
            name = _safe(entry.name)
            if name in made | above or made & set(name.parents):
                raise FormatError(f"{archive} has two files {entry.name!r:.80}")
            if len(made) >= _MOST_FILES:
                raise FormatError(f"{archive} has more than {_MOST_FILES:,} files")
            if entry.size > shutil.disk_usage(into).free:
                raise FormatError(f"there is no room for {entry.name!r:.80} of {archive} on {into}")
            target = into / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("xb") as out:
                left = entry.size
                while left:
                    part = stream.read(min(_PART, left))
                    if not part:
                        raise FormatError(f"{archive} is cut short")
                    out.write(part)
                    left -= len(part)
                out.flush()
                os.fsync(out.fileno())
            made.add(name)
            above |= set(name.parents)
    tops = {name.parts[0] for name in made}
    if len(tops) != 1:
        raise FormatError(f"{archive} does not hold one folder")
    return into / tops.pop()


def is_archive(path: Path) -> bool:
    """Whether a file begins as an archive does."""
    with path.open("rb") as file:
        start = file.read(512)
    return start.startswith(MAGIC) or start[257:262] == b"ustar"


def _files(folder: Path) -> dict[str, Path]:
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise FormatError(f"{path} is neither a plain file nor a folder")
        if path.is_file():
            name = f"{folder.resolve().name}/{path.relative_to(folder).as_posix()}"
            if len(name.encode()) > _LONGEST:
                raise FormatError(f"the name of {path} is too long for an archive")
            found[name] = path
    return found


def _safe(name: str) -> Path:
    """A name in an archive, below one folder. FormatError if it could lead elsewhere."""
    parts = PurePosixPath(name).parts
    whole = "/".join(parts)
    if len(parts) < 2 or whole != name or ".." in parts or "\0" in name or "\\" in name:
        raise FormatError(f"the archive has a file {name!r:.80}, which no archive of ours has")
    return Path(*parts)


@contextlib.contextmanager
def _telling() -> Iterator[None]:
    """Whatever tarfile and Zstandard raise on damage, as a FormatError."""
    try:
        yield
    except Exception as error:
        known = isinstance(error, tarfile.TarError | EOFError | ValueError)
        if not known and type(error).__name__ != "ZstdError":
            raise
        raise FormatError(f"the archive is damaged: {error}") from None


def _entries(archive: IO[bytes]) -> Iterator[tuple[tarfile.TarInfo, Any]]:
    """The plain files of an archive in order; each is to be read before the next."""
    start = archive.read(4)
    archive.seek(0)
    with _decompressing(archive, start == MAGIC) as stream:
        with tarfile.open(fileobj=stream, mode="r|", tarinfo=_Plain) as tar:
            for entry in tar:
                yield entry, tar.extractfile(entry)
        if len(stream.read(_PART)) == _PART:  # to its end, where the checksum is
            raise FormatError("the archive has more in it after its end")


class _Plain(tarfile.TarInfo):
    """A header of a plain file. Those that say more, at any length, are refused unread."""

    @classmethod
    def frombuf(cls, buf: Any, encoding: str, errors: str) -> Any:
        try:
            made = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if type(error).__name__ == "EOFHeaderError":  # the end as it should be
                raise
            # tarfile itself takes a damaged header for the end
            raise FormatError(f"the archive is damaged: {error}") from None
        if made.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
            raise FormatError(f"the archive has {made.name!r:.80}, which is no plain file")
        if made.size < 0:
            raise FormatError(f"the archive has {made.name!r:.80} of {made.size} bytes")
        return made


class _Summing:
    """A file of a given size, summed while it is read."""

    def __init__(self, file: IO[bytes], size: int):
        self._file, self._left, self._sum = file, size, hashlib.sha256()

    def read(self, size: int = _PART, /) -> bytes:
        part = self._file.read(min(size, self._left))
        self._left -= len(part)
        self._sum.update(part)
        return part

    def digest(self) -> bytes:
        return self._sum.digest()


@contextlib.contextmanager
def _compressing(archive: IO[bytes], level: int, compress: bool) -> Iterator[Any]:
    if not compress:
        yield archive
        return
    # one thread: with several, the bytes could depend on how many there are
    made = zstandard().ZstdCompressor(level=level, write_checksum=True)
    with made.stream_writer(archive, closefd=False) as stream:
        yield stream


@contextlib.contextmanager
def _decompressing(archive: IO[bytes], compressed: bool) -> Iterator[Any]:
    if not compressed:
        yield archive
        return
    made = zstandard().ZstdDecompressor(max_window_size=1 << 27)
    with made.stream_reader(archive, closefd=False, read_across_frames=True) as stream:
        yield stream


def zstandard() -> Any:
    """The library. FormatError if it is not installed."""
    try:
        import zstandard as library
    except ImportError:
        raise FormatError(
            "compressed archives need Zstandard, which is not installed",
            code="missing-extra",
            help="pip install 'netwright[zstd]'; or a name that ends in .tar, without compression",
        ) from None
    return library
