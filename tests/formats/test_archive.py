"""Archives: the same bytes each time, read back, and nothing outside of the folder."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile

import pytest
import zstandard
from netwright.formats import FormatError
from netwright.formats.archive import pack, unpack

FILES = {"manifest.json": b"{}", "state.safetensors": os.urandom(300_000), "deep/er": b"\0" * 9000}


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "step-00000007"
    for name, content in FILES.items():
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_bytes(content)
    return made


def packed(folder, name="a.tar.zst", **more):
    path = folder.parent / name
    with path.open("x+b") as file:
        assert pack(folder, file, **more) == sum(map(len, FILES.values()))
    return path


def inside(folder):
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


@pytest.mark.parametrize("more", [{}, {"level": 19}, {"compress": False}])
def test_there_and_back(folder, more):
    archive = packed(folder, **more)
    out = folder.parent / "out"
    out.mkdir()
    made = unpack(archive, out)
    assert made == out / folder.name and inside(made) == FILES
    for path in [*folder.rglob("*")]:
        os.utime(path, (1, 1))
    assert packed(folder, "again", **more).read_bytes() == archive.read_bytes()


def test_tar_takes_it_out(folder):
    archive = packed(folder, compress=False)
    out = folder.parent / "out"
    out.mkdir()
    subprocess.run(["tar", "xf", str(archive), "-C", str(out)], check=True)
    assert inside(out / folder.name) == FILES


def test_links_are_not_packed(folder):
    (folder / "link").symlink_to("/etc/passwd")
    with pytest.raises(FormatError, match="link is neither a plain file nor a folder"):
        packed(folder)


def tar_of(*entries: tarfile.TarInfo, form: int = tarfile.GNU_FORMAT) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as tar:
        for entry in entries:
            tar.addfile(entry, io.BytesIO(b"x" * max(entry.size, 0)))
    return file.getvalue()


def entry(name: str, **fields: object) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(made, field, value)
    return made


LINKS = (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE)


@pytest.mark.parametrize(
    "raw",
    [
        tar_of(entry("../x")),
        tar_of(entry("a/../../x")),
        tar_of(entry("/etc/x")),
        tar_of(entry("alone")),
        tar_of(entry("a//b")),
        tar_of(entry("a/b\\c")),
        tar_of(entry("a/b"), entry("a/b")),
        tar_of(entry("a/b"), entry("a/b/c")),
        tar_of(entry("a/b"), entry("c/d")),
        *(tar_of(entry("a/b", type=kind, linkname="/etc/passwd")) for kind in LINKS),
        tar_of(entry("a/" + "b" * 200)),
        tar_of(entry("a/ß" * 60), form=tarfile.PAX_FORMAT),
        tar_of(entry("a/b", pax_headers={"comment": "x"}), form=tarfile.PAX_FORMAT),
        tar_of(),
        b"",
        b"no archive at all" * 100,
        tar_of(entry("a/b", size=600))[:700],
        tar_of(entry("a/b", size=600))[:300],
        tar_of(entry("a/b")) + b"\0" * (2 << 20),
        tar_of(entry("a/b")).replace(b"00000000000\0", b"77777777777\0", 1),
    ],
)
@pytest.mark.parametrize("compressed", [False, True])
def test_archives_that_no_one_packed_are_refused(tmp_path, raw, compressed):
    out = tmp_path / "in" / "out"
    out.mkdir(parents=True)
    archive = tmp_path / "in" / "a.tar.zst"
    archive.write_bytes(zstandard.compress(raw) if compressed else raw)
    with pytest.raises((FormatError, OSError)):
        unpack(archive, out)
    assert {p.name for p in tmp_path.iterdir()} == {"in"}
    assert {p.name for p in (tmp_path / "in").iterdir()} == {"out", "a.tar.zst"}


def test_damaged_archives_are_refused(folder, tmp_path):
    """Cut at many places, or with a bit flipped, in the compressed data."""
    whole = packed(folder).read_bytes()
    count = 0
    for n in range(60):
        raw = bytearray(whole)
        if n % 2:
            del raw[len(raw) * n // 60 :]
        else:
            raw[len(raw) * n // 60] ^= 1 << n % 8
        out = tmp_path / f"out{n}"
        out.mkdir()
        (tmp_path / "damaged").write_bytes(raw)
        try:
            made = unpack(tmp_path / "damaged", out)
        except FormatError:
            count += 1
        else:  # a bit that means nothing, such as one of the size of its window
            assert inside(made) == FILES
    assert count >= 58
