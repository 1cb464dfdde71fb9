"""Models with random slips in them: each is taken, or refused with messages; nothing else
happens."""

import random
import re
from functools import cache
from pathlib import Path

import pytest
from netwright import driver
from netwright.ir.diagnostics import InputError, render

HERE = Path(__file__).parent
EXAMPLES = HERE.parents[1] / "examples"
SOURCES = [
    *(EXAMPLES / name / "model.nw" for name in ("mlp", "shakespeare", "digits", "pronounce")),
    HERE / "models" / "page.nw",
]
CHUNKS, EACH = 8, 252
WORD = re.compile(r"[A-Za-z_]\w*|\d[\w.]*|\*\*|//|->|<-|[<>=!]=|\.\.\.|\n *|\s+|.")
KINDS = (r"[A-Z]\w*$", r"[a-z_]\w*$", r"\d", r"(\*\*|//|->|<-|[<>=!]=|[-+*/%<>=])$", r"[][(),:.]$")


@cache
def kind(word: str) -> int:
    return next((i for i, k in enumerate(KINDS) if re.match(k, word)), -1)


def mutate(text: str, rng: random.Random) -> str:
    """One slip: a word exchanged, left out, doubled or renamed, a line moved, dims swapped."""
    words = WORD.findall(text)
    wanted = rng.choice((0, 0, 1, 1, 2, 3, 4))
    places = [i for i, w in enumerate(words) if kind(w) == wanted]
    if not places:
        return text
    at, other = rng.choice(places), rng.choice(places)
    match rng.randrange(12):
        case 0 | 1:
            words[at], words[other] = words[other], words[at]
        case 2 | 3 | 4 | 5:
            words[at] = words[other]
        case 6:
            words[at] = ""
        case 7:
            words[at] = words[at][:-1] or "x"
        case 8:
            words[at] = rng.choice(("0", "-1", "1e400", "2.5", "none", "true", "train", "...", "S"))
        case 9 | 10:
            lines = text.split("\n")
            a, b = rng.randrange(len(lines)), rng.randrange(len(lines))
            lines[a], lines[b] = rng.choice(((lines[b], lines[a]), (lines[b], lines[b]), ("", "")))
            return "\n".join(lines)
        case 11:
            brackets = list(re.finditer(r"\[([^][]*,[^][]*)\]", text))
            if brackets:
                found = rng.choice(brackets)
                dims = found[1].split(", ")
                rng.shuffle(dims)
                return text[: found.start(1)] + ", ".join(dims) + text[found.end(1) :]
    return "".join(words)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_every_slip_is_taken_or_told(chunk, tmp_path):
    rng = random.Random(chunk)
    texts = [p.read_text(encoding="utf-8") for p in SOURCES]
    path = tmp_path / "model.nw"
    refused = 0
    for _ in range(EACH):
        (text,) = rng.choices(texts, (4, 2, 2, 2, 2))
        for _ in range(rng.choice((1, 1, 1, 2, 4))):
            text = mutate(text, rng)
        path.write_text(text, encoding="utf-8")
        try:
            driver.load(path)
        except InputError as error:
            refused += 1
            assert error.diagnostics
            for diagnostic in error.diagnostics:
                assert render(diagnostic, error.sources)
        except Exception as error:
            (tmp_path / "found.nw").write_text(text, encoding="utf-8")
            raise AssertionError(f"{type(error).__name__} for {tmp_path / 'found.nw'}") from error
    assert refused > EACH / 3
