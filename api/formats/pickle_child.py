"""Reads a pickle of arrays in a process of its own. Run as a script; never imported.

A pickle is a program that may call whatever it names. This one may name what makes dicts and
arrays, and these are not made by numpy, whose own unpickling trusts what it is given, but by
stand-ins below, which keep the shape, the dtype and the bytes. Nothing but the standard library is
here to be called; memory, time, files and output are bounded before the first byte is read.

    python -I -S pickle_child.py SIZE < FILE > OUT

OUT is the length of a JSON list in 8 bytes, the list, and the bytes of the arrays that it tells.
What cannot be taken is said in one line on stderr, with exit code 3.
"""

import encodings.latin_1  # noqa: F401  later no file can be opened any more
import json
import os
import pickle
import resource
import struct
import sys

MOST_NODES, MOST_LEAVES, DEEPEST = 2**20, 2**17, 64
REFUSED = 3
DTYPES = {
    "b1": "bool", "i1": "int8", "i2": "int16", "i4": "int32", "i8": "int64",
    "u1": "uint8", "u2": "uint16", "u4": "uint32", "u8": "uint64",
    "f2": "float16", "f4": "float32", "f8": "float64", "c8": "complex64", "c16": "complex128",
}  # fmt: skip


class Refused(Exception):
    """The pickle holds what is no array."""


class Allowed:
    """Something that a pickle may name: it may be called, and nothing else."""

    __slots__ = ("_function",)

    def __init__(self, function):
        self._function = function

    def __call__(self, *arguments):
        return self._function(*arguments)

    def __setstate__(self, state):
        raise Refused("it gives a state to what has none")


class Dtype:
    __slots__ = ("big", "name")

    def __init__(self, name):
        self.name, self.big = name, False

    def __setstate__(self, state):
        # (version, byte order, subarray, names of fields, fields, size, alignment, flags)
        if not isinstance(state, tuple) or len(state) < 5 or any(s is not None for s in state[2:5]):
            raise Refused("an array has fields, which no array of numbers has")
        self.big = state[1] == ">"


class Array:
    __slots__ = ("data", "dtype", "fortran", "shape")

    def __init__(self, shape=(), dtype=None, fortran=False, data=None):
        self.shape, self.dtype, self.fortran, self.data = shape, dtype, fortran, data

    def __setstate__(self, state):
        if not isinstance(state, tuple) or len(state) != 5:
            raise Refused("an array has a state that numpy does not write")
        _, self.shape, self.dtype, self.fortran, self.data = state


def dtype(name, *_):
    if isinstance(name, Dtype):  # a class of ml_dtypes
        return Dtype(name.name)
    if not isinstance(name, str) or name not in DTYPES:
        raise Refused(f"an array has the dtype {name!r:.40}; only arrays of numbers are taken")
    return Dtype(DTYPES[name])


def from_jax(function, arguments, state, _=None):
    if not isinstance(function, Allowed):
        raise Refused("an array of JAX is not made of an array of numpy")
    made = function(*arguments)
    if isinstance(made, Array):
        made.__setstate__(state)
    return made


def encode(text, encoding):
    if encoding != "latin1" or not isinstance(text, str):
        raise Refused("bytes are written as numpy does not write them")
    return text.encode("latin1")


def frozen(tree=None):
    return {} if tree is None else tree


ALLOWED = {
    ("numpy", "ndarray"): Allowed(lambda *_: Array()),
    ("numpy", "dtype"): Allowed(dtype),
    ("_codecs", "encode"): Allowed(encode),
    ("collections", "OrderedDict"): Allowed(lambda: {}),
    ("flax.core.frozen_dict", "FrozenDict"): Allowed(frozen),
    ("jax._src.array", "_reconstruct_array"): Allowed(from_jax),
}
for _builtins in ("builtins", "__builtin__"):
    ALLOWED[_builtins, "complex"] = Allowed(lambda real, imag: complex(float(real), float(imag)))
for _core in ("numpy.core", "numpy._core"):
    ALLOWED[_core + ".multiarray", "_reconstruct"] = Allowed(lambda *_: Array())
    ALLOWED[_core + ".multiarray", "scalar"] = Allowed(
        lambda kind, data: Array((), kind, False, data)
    )
    ALLOWED[_core + ".numeric", "_frombuffer"] = Allowed(
        lambda data, kind, shape, order: Array(shape, kind, order == "F", data)
    )


class Unpickler(pickle.Unpickler):
    def find_class(self, module, name):
        if (module, name) in ALLOWED:
            return ALLOWED[module, name]
        if module == "ml_dtypes" and name.isidentifier():
            return Dtype(name)
        raise Refused(f"it asks for {module}.{name}"[:200])

    def persistent_load(self, _):
        raise Refused("it refers to what is outside of it")


def leaves(tree):
    """The arrays and numbers of nested dicts and lists, by path."""
    stack: list = [((), tree)]
    found: list = []
    seen = 0
    while stack:
        path, node = stack.pop()
        seen += 1
        if seen > MOST_NODES or len(found) > MOST_LEAVES or len(path) > DEEPEST:
            raise Refused("it is nested too deep, or has too many arrays")
        where = ".".join(path) or "it"
        if isinstance(node, dict):
            if not all(isinstance(key, str | int) for key in node):
                raise Refused(f"{where} has keys that are neither text nor whole numbers")
            stack += [((*path, str(key)), inner) for key, inner in reversed(node.items())]
        elif isinstance(node, list | tuple):
            stack += [((*path, str(n)), inner) for n, inner in reversed(list(enumerate(node)))]
        elif isinstance(node, Array):
            found.append((path, *described(node, where)))
        elif isinstance(node, bool | int | float | complex):
            found.append((path, *number(node, where)))
        elif node is not None:
            kind = type(node).__name__
            raise Refused(f"{where} is {kind}; only arrays and numbers are taken")
    return found


def described(array, where):
    """(what to say of it, its bytes)"""
    data = array.data.encode("latin1") if isinstance(array.data, str) else array.data
    if not isinstance(array.dtype, Dtype) or not isinstance(data, bytes | bytearray):
        raise Refused(f"{where} is not an array of numbers")
    if not isinstance(array.shape, tuple) or not all(type(n) is int for n in array.shape):
        raise Refused(f"{where} has no shape")
    entry = {
        "shape": list(array.shape), "dtype": array.dtype.name,
        "fortran": bool(array.fortran), "big": array.dtype.big,
    }  # fmt: skip
    return entry, data


def number(value, where):
    if isinstance(value, bool):
        kind, data = "bool", bytes([value])
    elif isinstance(value, int):
        if not -(2**63) <= value < 2**64:
            raise Refused(f"{where} is a whole number of more than 64 bits")
        kind = "int64" if value < 2**63 else "uint64"
        data = value.to_bytes(8, "little", signed=value < 2**63)
    elif isinstance(value, float):
        kind, data = "float64", struct.pack("<d", value)
    else:
        kind, data = "complex128", struct.pack("<dd", value.real, value.imag)
    return {"shape": [], "dtype": kind, "fortran": False, "big": False}, data


def limit(size):
    """Bound this process by the size of the file."""
    seconds = 20 + size // 20_000_000
    for what, most in (
        (resource.RLIMIT_AS, 4 * size + (256 << 20)),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, 4 * size + (64 << 20)),
        (resource.RLIMIT_NOFILE, 3),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(what)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (most, most))


def main():
    out = sys.stdout.buffer
    limit(int(sys.argv[1]))
    try:
        # latin1: what Python 2 wrote comes out as text that stands for its bytes
        tree = Unpickler(sys.stdin.buffer, encoding="latin1").load()
        if sys.stdin.buffer.read(1):
            raise Refused("there is more after it")
        found = leaves(tree)
        offset, entries = 0, []
        for path, entry, data in found:
            entries.append({"path": path, **entry, "start": offset, "size": len(data)})
            offset += len(data)
        head = json.dumps(entries).encode()
        out.write(len(head).to_bytes(8, "little") + head)
        for _, _, data in found:
            out.write(data)
        out.flush()
    except MemoryError:
        refuse("it takes more memory than a file of its size may")
    except Refused as error:
        refuse(str(error))
    except Exception as error:  # whatever a damaged file makes of the unpickler
        refuse(f"it is damaged ({type(error).__name__})")


def refuse(reason):
    sys.stderr.write(json.dumps(reason[:400]) + "\n")
    sys.stderr.flush()
    os._exit(REFUSED)


if __name__ == "__main__":
    main()
