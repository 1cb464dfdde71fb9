"""Files that are made to do harm: right in most of their structure, wrong in some place.

`msgpack(random)`, `safetensors(random)` and `archive(random)` each make one. Drawn are trees as the
libraries write them; here and there a length, a type, a size, a key or an offset is another, or the
bytes are cut, doubled or flipped.
"""

from __future__ import annotations

import json
import struct
from random import Random
from typing import Any

EDGES = (0, 1, 2, 15, 16, 31, 32, 127, 128, 255, 256, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1)
HUGE = (*EDGES, 2**47, 2**48, 2**62, 2**63 - 1, 2**63, 2**64, 2**70, -1, -(2**63))
DTYPES = (
    "float32", "bfloat16", "int8", "bool", "complex128", "float8_e4m3fn", "object", "O", "V8",
    "str", "datetime64[s]", "", "float32,int8", "void", "\xff", "f4", "int4",
)  # fmt: skip


def msgpack(random: Random) -> bytes:
    """A hostile file of Flax's."""
    kind = random.random()
    if kind < 0.02:  # deeper than anything
        level = random.choice((b"\x81\xa1a", b"\x91", b"\xdf\x00\x00\x00\x01\xa1b"))
        return level * random.choice((63, 64, 65, 1000, 20_000)) + b"\xc0"
    if kind < 0.03:  # longer than it is
        return random.choice((b"\xdf", b"\xdd")) + struct.pack(">I", random.choice(EDGES)) + b"\xa1"
    return _damaged(_map(random, 0), random)


def _map(random: Random, depth: int) -> bytes:
    count = random.randint(0, 4)
    names = [random.choice(("a", "b", "kernel", "shape", "chunks", "0", "1")) for _ in range(count)]
    if random.random() < 0.9:
        names = list(dict.fromkeys(names))
    said = len(names) if random.random() < 0.95 else random.choice(EDGES)
    made = _sized(said, 0x80, 15, (0xDE, 0xDF), (2, 4))
    for name in names:
        made += _key(name, random) + _value(random, depth + 1)
    if random.random() < 0.1:
        made = _pieces(random)
    return made


def _value(random: Random, depth: int) -> bytes:
    kind = random.random()
    if kind < 0.25 and depth < 6:
        return _map(random, depth)
    if kind < 0.8:
        return _ext(random)
    if kind < 0.85:
        return _pieces(random)
    if kind < 0.9:
        values = b"".join(_value(random, 6) for _ in range(random.randint(0, 3)))
        return _sized(random.choice((0, 1, 2, 3, 9)), 0x90, 15, (0xDC, 0xDD), (2, 4)) + values
    return random.choice(
        (
            b"\xc0", b"\xc1", b"\xc2", b"\xc3", b"\x05", b"\xe1", b"\xcb" + b"\x7f" * 8,
            b"\xcf" + b"\xff" * 8, b"\xd3" + b"\x80" * 8, b"\xa3abc", b"\xdb\xff\xff\xff\xff",
            b"\xc4\x02ab", b"\xc6\xff\xff\xff\xff", b"\xd9\x05abc", b"\xc9\x7f\xff\xff\xff\x01",
        )
    )  # fmt: skip


def _key(name: str, random: Random) -> bytes:
    kind = random.random()
    if kind < 0.94:
        return _text(name.encode())
    if kind < 0.95:
        return _text(name.encode() * 2000)
    odd = (b"\x07", b"\xc0", b"\xa2\xff\xfe", b"\x90", b"\xca\0\0\0\0", b"\xa3a\0b", b"\xa4../x")
    return random.choice(odd)


def _ext(random: Random) -> bytes:
    code = random.choice((*[1] * 16, 3, 2, 0, 4, 255))
    body = b"\x92\xca\0\0\0\0\xcb" + b"\0" * 8 if code == 2 else _array(random)
    if random.random() < 0.03:
        body = random.choice((b"", b"\x92", b"\x93", body + b"\0", body[:-1]))
    size = len(body) if random.random() < 0.95 else random.choice(EDGES)
    width, first = next((w, f) for w, f in ((1, 0xC7), (2, 0xC8), (4, 0xC9)) if size < 1 << 8 * w)
    return bytes([first]) + size.to_bytes(width, "big") + bytes([code]) + body


def _array(random: Random, dims: int | None = None) -> bytes:
    dims = random.choice((0, 1, 1, 2, 2, 3)) if dims is None else dims
    shape = [random.choice((0, 1, 2, 3)) for _ in range(dims)]
    dtype = "float32" if random.random() < 0.8 else random.choice(DTYPES)
    size = 4
    for n in shape:
        size *= n
    if random.random() < 0.1 and shape:
        shape[random.randrange(len(shape))] = random.choice(HUGE)
    said = len(shape) if random.random() < 0.97 else random.choice(EDGES)
    made = b"\x93" + _sized(said, 0x90, 15, (0xDC, 0xDD), (2, 4))
    made += b"".join(_number(n) for n in shape) + _text(dtype.encode("latin1"))
    told = size if random.random() < 0.95 else random.choice(EDGES)
    return made + _sized(told, 0, -1, (0xC4, 0xC5, 0xC6), (1, 2, 4)) + b"\x01" * size


def _pieces(random: Random) -> bytes:
    count = random.randint(0, 3)
    made = (
        b"\x83" + _text(b"__msgpack_chunked_array__") + random.choice((b"\xc3", b"\xc2", b"\x01"))
    )
    made += _text(b"shape") + bytes([0x80 | random.choice((0, 1, 1, 1, 2))])
    made += _text(b"0") + _number(random.choice((count, 2 * count, 3, *HUGE[-6:])))
    made += _text(b"chunks") + bytes([0x80 | count])
    for n in range(count):
        body = _array(random, dims=random.choice((1, 1, 1, 2)))
        made += _text(str(n if random.random() < 0.95 else 7).encode())
        made += b"\xc8" + len(body).to_bytes(2, "big") + b"\x01" + body
    return made


def _number(n: int) -> bytes:
    if 0 <= n < 128:
        return bytes([n])
    if 0 <= n < 2**64:
        return b"\xcf" + n.to_bytes(8, "big")
    return b"\xd3" + (n % 2**64).to_bytes(8, "big")


def _text(raw: bytes) -> bytes:
    return _sized(len(raw), 0xA0, 31, (0xD9, 0xDA, 0xDB), (1, 2, 4)) + raw


def _sized(
    size: int, fixed: int, most: int, firsts: tuple[int, ...], widths: tuple[int, ...]
) -> bytes:
    if size <= most:
        return bytes([fixed | size])
    for first, width in zip(firsts, widths, strict=True):
        if size < 1 << 8 * width:
            return bytes([first]) + size.to_bytes(width, "big")
    return bytes([firsts[-1]]) + b"\xff" * widths[-1]


def safetensors(random: Random) -> bytes:
    """A hostile safetensors file."""
    header, offset = [], 0
    for _ in range(random.randint(0, 4)):
        shape: list[Any] = [random.choice((0, 1, 2, 3)) for _ in range(random.choice((0, 1, 2)))]
        size = 4
        for n in shape:
            size *= n
        entry: dict[str, Any] = {"dtype": "F32", "shape": shape}
        entry["data_offsets"] = [offset, offset + size]
        offset += size
        if random.random() < 0.25:
            _spoil(entry, random)
        name = random.choice(("a", "b", "c.d", "c", "x/y", "", ".", "..", "a\0", "../../etc", "ß"))
        header.append((name, entry))
    if random.random() < 0.2:
        odd = ({}, {"format": "pt"}, None, [], "x", {"a": 1}, 5)
        header.append(("__metadata__", random.choice(odd)))
    text = "{" + ",".join(f"{json.dumps(n)}:{_json(e, random)}" for n, e in header) + "}"
    kind = random.random()
    if kind < 0.02:
        text = random.choice(("[" * 100_000, '{"a":' * 50_000, "[]", "null", '"x"', "NaN", ""))
    raw = text.encode("utf-8", "surrogatepass")
    length = (
        len(raw) if random.random() < 0.93 else random.choice((*EDGES, 2**40, 2**63, 2**64 - 1))
    )
    data = b"\1" * (offset if random.random() < 0.95 else random.choice((0, 1, offset + 1)))
    return _damaged(struct.pack("<Q", length) + raw + data, random, 0.15)


def _spoil(entry: dict[str, Any], random: Random) -> None:
    odd = (None, "x", 1.5, True, [], {}, -1, 2**70, [None], ["1"], [1.0], [True], [[1]], [-1])
    key = random.choice(("dtype", "shape", "data_offsets"))
    kind = random.random()
    if kind < 0.3:
        entry[key] = random.choice(odd)
    elif kind < 0.5:
        entry["data_offsets"] = [random.choice(HUGE), random.choice(HUGE)]
    elif kind < 0.7:
        entry["shape"] = [random.choice(HUGE) for _ in range(random.choice((1, 2, 100)))]
    elif kind < 0.8:
        entry["dtype"] = random.choice(("BF16", "BOOL", "F8_E4M3", "I64", "F128", "", "f32"))
    elif kind < 0.9:
        del entry[key]
    else:
        entry[random.choice(("more", "dtype "))] = 1


def _json(value: Any, random: Random) -> str:
    text = json.dumps(value)
    if random.random() < 0.02:
        text = text.replace("[", random.choice(("[NaN,", "[Infinity,", "[1e999,", "[", "[[")), 1)
    if random.random() < 0.02:
        text = text.replace('"dtype"', '"dtype":"F32","dtype"', 1)
    return text


def _damaged(raw: bytes, random: Random, share: float = 0.35) -> bytes:
    """Mostly as it is; else cut, with more behind it, or with other bytes in it."""
    if random.random() > share:
        return raw
    kind = random.random()
    if kind < 0.3:
        return raw[: random.randint(0, len(raw))]
    if kind < 0.4:
        return raw + random.choice((b"\0", b"\xc0", raw))
    made = bytearray(raw)
    for _ in range(random.choice((1, 1, 1, 2, 8))):
        if made:
            made[random.randrange(len(made))] = random.choice((0, 1, 0x7F, 0x80, 0xFF, 0xDF, 0xC9))
    return bytes(made)


def archive(random: Random) -> bytes:
    """A hostile archive, compressed or not."""
    import zstandard

    raw = b"".join(_member(random) for _ in range(random.randint(0, 4)))
    raw += b"\0" * random.choice((1024, 1024, 1024, 10_240, 512, 0, 3 << 20))
    raw = _damaged(raw, random, 0.2)
    if random.random() < 0.5:
        raw = _damaged(zstandard.compress(raw), random, 0.1)
    return raw


def _member(random: Random) -> bytes:
    name = random.choice(
        ("s/a", "s/b", "s/c/d", "s/a", "t/a", "../x", "/x", "s/../../x", "s//a", "s/./a", "x", "",
         "s/" + "n" * 98, "s/\\x", "s/..", "s/a/b")
    )  # fmt: skip
    size = random.choice((0, 1, 511, 512, 513, 1000))
    said = f"{size:011o}\0".encode() if random.random() < 0.85 else random.choice(_SIZES)
    kind = b"0" if random.random() < 0.8 else random.choice((*b"\01234567xgLKSD\xff",))
    kind = kind if isinstance(kind, bytes) else bytes([kind])
    head = name.encode()[:100].ljust(100, b"\0") + b"0000644\0" + b"0000000\0" * 2
    head += said + b"00000000000\0" + b" " * 8 + kind
    head += random.choice((b"", b"/etc/passwd", b"../../x", b"s/a")).ljust(100, b"\0")
    head += random.choice((b"ustar  \0", b"ustar\00000", b"\0" * 8)) + b"\0" * 80
    head += random.choice((b"", b"", b"", b"../..")).ljust(155, b"\0")
    head = head.ljust(512, b"\0")
    total = sum(head) if random.random() < 0.95 else random.randint(0, 99_999)
    head = head[:148] + f"{total:06o}\0 ".encode()[:8] + head[156:]
    return head + b"\1" * size + b"\0" * (-size % 512)


_SIZES = (
    b"77777777777\0", b"0000000000 ", b"-0000000001\0", b"zzzzzzzzzzz\0", b"\xff" * 12,
    b"\x80" + b"\0" * 3 + b"\xff" * 8, b"\x80" + b"\x7f" * 11, b"\0" * 12, b" " * 12,
)  # fmt: skip
