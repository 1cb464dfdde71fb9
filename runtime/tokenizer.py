"""Text as ids and back: bytes, or by a `tokenizer.json` (needs the package tokenizers)."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from .errors import RunError
from .files import read_file, sha256


class Tokenizer(Protocol):
    """What turns text into ids.

    size: how many ids there are
    unit: what one id stands for, in the plural
    """

    size: int
    unit: str

    def encode(self, text: bytes | str) -> np.ndarray:
        """Ids, as unsigned integers."""
        ...

    def decoder(self, prompt: Sequence[int]) -> Callable[[int], str]:
        """For ids that follow a prompt, one after the other: the text that each completes."""
        ...

    def id_of(self, token: str) -> int | None:
        """The id of a token, None if there is none."""
        ...

    def describe(self) -> dict:
        """What determines the ids, as JSON."""
        ...


class Bytes:
    """Each byte of UTF-8 an id."""

    size, unit = 256, "bytes"

    def encode(self, text: bytes | str) -> np.ndarray:
        return np.frombuffer(text.encode() if isinstance(text, str) else text, np.uint8)

    def decoder(self, prompt: Sequence[int]) -> Callable[[int], str]:
        decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        return lambda token: decode(bytes([token]))

    def id_of(self, token: str) -> int | None:
        encoded = token.encode()
        return encoded[0] if len(encoded) == 1 else None

    def describe(self) -> dict:
        return {}


class Trained:
    """A tokenizer of the package tokenizers, from its `tokenizer.json`.

    Marks such as `<s>` are not added: ids are those of the text alone.
    RunError if the file is missing or none, or the package is not installed.
    """

    unit = "tokens"

    def __init__(self, path: str | Path):
        try:
            import tokenizers
        except ImportError:
            raise RunError(
                f"{path} is read by the package tokenizers, which is not installed:\n"
                "pip install tokenizers"
            ) from None
        content = read_file(path)
        try:
            self._tokenizer = tokenizers.Tokenizer.from_buffer(content)
        except Exception as error:  # the package raises nothing more exact
            raise RunError(f"{path} is no tokenizer of the package tokenizers: {error}") from error
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._stream: Any = tokenizers.decoders.DecodeStream
        self._sha256 = sha256(content)
        known = self._tokenizer.get_vocab(with_added_tokens=True)
        self.size = max(known.values(), default=-1) + 1

    def encode(self, text: bytes | str) -> np.ndarray:
        text = text if isinstance(text, str) else text.decode("utf-8", "replace")
        ids = self._tokenizer.encode(text, add_special_tokens=False).ids
        return np.array(ids, np.uint16 if self.size <= 2**16 else np.uint32)

    def decoder(self, prompt: Sequence[int]) -> Callable[[int], str]:
        stream = self._stream(skip_special_tokens=False)
        for token in prompt:
            stream.step(self._tokenizer, token)
        return lambda token: stream.step(self._tokenizer, token) or ""

    def id_of(self, token: str) -> int | None:
        return self._tokenizer.token_to_id(token)

    def describe(self) -> dict:
        return {"tokenizer": self._sha256}


def tokenizer(path: str | Path | None) -> Tokenizer:
    """That of a `tokenizer.json`, or for None bytes."""
    return Bytes() if path is None else Trained(path)


def checked_separator(given: str | int | None, by: Tokenizer | None) -> int | None:
    """The id that ends each document. RunError if there is no such token."""
    if given is None or isinstance(given, int):
        return given
    found = by.id_of(given) if by is not None else None
    if found is None:
        kind = 'of one byte, such as "\\n"' if isinstance(by, Bytes) else "of the tokenizer"
        kind = kind if by is not None else "given as a number, as there is no tokenizer"
        raise RunError(f"separator = {given!r}: it must be a token {kind}.")
    return found
