"""Counts the tokens of programs, in Python or in Netwright's language.

    python benchmarks/tokens.py FILE|URL...
    python benchmarks/tokens.py --table [FOLDER]     # the table of docs/flax.md

What a reader reads counts: names, numbers, signs, strings. Comments, docstrings, blank lines, line
ends and indentation do not. Python is cut by its own `tokenize`, models by the lexer of the
compiler. A docstring is a string that is a statement by itself.

The table sets models beside programs in Flax. Those are read from GitHub, or from clones in FOLDER
that are named as the repositories are. What in them is no model is left out, as are the losses of
ours where theirs stand in other files; `with its loss` is our whole file.
"""

from __future__ import annotations

import argparse
import ast
import io
import subprocess
import tokenize
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from netwright.frontend.lexer import cut

ROOT = Path(__file__).resolve().parent.parent
FLAX = "18f8f311c275d57f46d95e41b15aa97b454754c0"
_LAYOUT = (tokenize.COMMENT, tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)


@dataclass(frozen=True)
class Pair:
    """A model, and the file of a repository at a commit that it is set beside.

    Attributes:
        without: functions in that file that are no part of the model.
    """

    model: str
    repository: str
    commit: str
    path: str
    without: tuple[str, ...] = ()


PAIRS = (
    Pair("examples/flax/lm1b.nw", "google/flax", FLAX, "examples/lm1b/models.py"),
    Pair("examples/flax/imagenet.nw", "google/flax", FLAX, "examples/imagenet/models.py"),
    Pair("examples/flax/seq2seq.nw", "google/flax", FLAX, "examples/seq2seq/models.py"),
    Pair(
        "examples/gallery/gpt2.nw",
        "cgarciae/nanoGPT-jax",
        "24fd60f987a946915e43c0000195bd73ddc34271",
        "model.py",
        (
            *("crop_block_size", "from_pretrained", "configure_optimizers", "generate"),
            "create_state",
        ),
    ),
)


def of_python(text: str, without: Sequence[str] = ()) -> int:
    """How many tokens a Python source has, some functions left out."""
    left_out: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef) and node.name in without:
            first = min(n.lineno for n in (node, *node.decorator_list))
            left_out.update(range(first, node.end_lineno + 1))
    count = 0
    line: list[int] = []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.NEWLINE:
            count += len(line) if set(line) != {tokenize.STRING} else 0
            line = []
        elif token.type not in _LAYOUT and token.start[0] not in left_out:
            line.append(token.type)
    return count


def of_model(text: str, losses: bool = True) -> int:
    """How many tokens a model file has, with its losses or without."""
    count, skipped = 0, False
    for row in cut(text.split("\n"), ""):
        if row and row[0].column == 1 and row[0].type != "RPAR":
            skipped = row[0].type == "LOSS" and not losses
        count += 0 if skipped else sum(word.type != "DOC" for word in row)
    return count


def read(source: str) -> str:
    """The text of a file, or of what stands at a URL."""
    if "://" in source:
        with urllib.request.urlopen(source) as answer:
            return answer.read().decode()
    return Path(source).read_text(encoding="utf-8")


def original(pair: Pair, folder: str | None) -> int:
    """How many tokens the program in Flax has."""
    if folder is None:
        where = f"{pair.repository}/{pair.commit}/{pair.path}"
        return of_python(read(f"https://raw.githubusercontent.com/{where}"), pair.without)
    clone = Path(folder) / pair.repository.split("/")[1]
    command = ["git", "-C", str(clone), "show", f"{pair.commit}:{pair.path}"]
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    return of_python(done.stdout, pair.without)


def table(folder: str | None) -> str:
    """The pairs, in Markdown."""
    rows = [
        "| model | tokens | with its loss | in Flax | tokens | ratio |",
        "|---|---|---|---|---|---|",
    ]
    for pair in PAIRS:
        text = (ROOT / pair.model).read_text(encoding="utf-8")
        ours, theirs = of_model(text, losses=False), original(pair, folder)
        link = f"https://github.com/{pair.repository}/blob/{pair.commit}/{pair.path}"
        rows.append(
            f"| [{pair.model}](../{pair.model}) | {ours} | {of_model(text)} "
            f"| [{pair.repository}: {pair.path}]({link}) | {theirs} | {ours / theirs:.2f} |"
        )
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("sources", nargs="*", metavar="FILE|URL", help="*.nw, or Python")
    parser.add_argument(
        "--table", nargs="?", const="", metavar="FOLDER", help="the table of docs/flax.md"
    )
    given = parser.parse_args()
    if given.table is not None:
        print(table(given.table or None))
    for source in given.sources:
        tokens = (of_model if source.endswith(".nw") else of_python)(read(source))
        print(f"{tokens:6,}  {source}")


if __name__ == "__main__":
    main()
