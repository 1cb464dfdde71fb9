"""A campaign of hostile files: msgpack, safetensors and archives that are made to do harm.

    python benchmarks/hostile_weights.py --count 1000000 --seed 0 --jobs 2

Each file must be refused by a `FormatError`, or hold arrays that are all within it; any other
exception is printed with its number. The address space of each process is bounded to what it had at
its start and 256 MiB; the largest resident set is reported. Counts go to
`results/hostile_weights.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from random import Random

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "formats"))
CHUNK = 5000  # files between which counts are handed over
ROOM = 256 << 20
MEMORY = Path("/dev/shm")  # a folder in memory, where there is one


def kind_of(number: int) -> str:
    """What kind of file a number of the campaign is."""
    return "archive" if number % 20 == 0 else "msgpack" if number % 20 < 13 else "safetensors"


def run(start: int, count: int, seed: int) -> tuple[dict, list[dict], dict]:
    """Some files of the campaign: how many were refused and whole, what failed, what was taken."""
    import hostile_files
    from netwright.formats import FormatError, archive, msgpack, open_weights
    from netwright.formats.common import Bytes

    _bound()
    folder = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None))
    file, out = folder / "w", folder / "out"
    seen: Counter[str] = Counter()
    failed = []
    began = time.perf_counter()
    slowest = (0.0, -1)
    for number in range(start, min(start + CHUNK, count)):
        kind = kind_of(number)
        raw = getattr(hostile_files, kind)(Random(seed + number))
        one = time.perf_counter()
        try:
            if kind == "archive":
                file.write_bytes(raw)
                out.mkdir()
                archive.unpack(file, out)
            else:
                if kind == "msgpack":
                    weights = msgpack.weights(Bytes(raw, len(raw)), "memory")
                else:
                    file.write_bytes(raw)
                    weights = open_weights(file)
                held = sum(weights.read(path).nbytes for path in weights.leaves)
                if held > len(raw) + 16 * len(weights.leaves):
                    raise AssertionError(f"{held} bytes in arrays of a file of {len(raw)}")
            seen[f"{kind} whole"] += 1
        except FormatError:
            seen[f"{kind} refused"] += 1
        except Exception as error:
            failed.append({"number": number, "kind": kind, "what": repr(error)[:300]})
            print(f"number {number} ({kind}): {error!r}", flush=True)
        finally:
            slowest = max(slowest, (time.perf_counter() - one, number))
            file.unlink(missing_ok=True)
            if kind == "archive":
                strays = {p.name for p in folder.iterdir()} - {"out"}
                if strays:
                    failed.append({"number": number, "kind": kind, "what": f"outside: {strays}"})
                shutil.rmtree(out)
    shutil.rmtree(folder)
    taken = {
        "resident": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10,
        "seconds": time.perf_counter() - began,
        "slowest": slowest,
    }
    return dict(seen), failed, taken


_bounded = False


def _bound() -> None:
    global _bounded
    if _bounded:
        return
    import numpy as np
    from netwright.runtime import tensors  # noqa: F401  what is loaded later would count

    np.zeros(1)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + ROOM
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    _bounded = True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=20_000, help="how many files")
    parser.add_argument("--seed", type=int, default=0, help="the seed of the first one")
    parser.add_argument("--jobs", type=int, default=1, help="how many processes")
    parser.add_argument("--out", default=str(Path(__file__).parent / "results"))
    given = parser.parse_args()

    began = time.time()
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    seen: Counter[str] = Counter()
    failed: list[dict] = []
    resident, slowest = 0, (0.0, -1)
    some = partial(run, count=given.count, seed=given.seed)
    with ProcessPoolExecutor(given.jobs, get_context("spawn")) as pool:
        for done, (counts, wrong, taken) in enumerate(
            pool.map(some, range(0, given.count, CHUNK)), 1
        ):
            seen.update(counts)
            failed += wrong
            resident = max(resident, taken["resident"])
            slowest = max(slowest, taken["slowest"])
            if done % 20 == 0:
                print(f"{min(done * CHUNK, given.count):,} files, {len(failed)} failed", flush=True)
    result = {
        "commit": commit,
        "seed": given.seed,
        "count": given.count,
        "failed": failed,
        "files": dict(sorted(seen.items())),
        "room_in_mib": ROOM >> 20,
        "largest_resident_in_mib": resident >> 20,
        "slowest_in_seconds": round(slowest[0], 3),
        "slowest_number": slowest[1],
        "seconds": round(time.time() - began),
    }
    out = Path(given.out)
    out.mkdir(parents=True, exist_ok=True)
    (out / "hostile_weights.json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
