"""Campaigns of faults against checkpoints: kills, losses of power, full disks, damage, deceit.

    python benchmarks/checkpoint_faults.py                      all of them, some minutes
    python benchmarks/checkpoint_faults.py flips --count 10000  one of them

kills needs to trace processes, full a tmpfs (and so root) for its second half. What was tried goes
to `results/checkpoint_faults.json`; a fault that does harm ends the campaign with exit code 1.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from subprocess import PIPE

ROOT = Path(__file__).resolve().parent.parent
os.environ.setdefault("JAX_PLATFORMS", "cpu")
sys.path.insert(0, str(ROOT / "tests" / "checkpoint_faults"))

import faults  # noqa: E402
from faults import newest_whole, save, small_state  # noqa: E402
from netwright.runtime.commit import NotWritten  # noqa: E402
from netwright.runtime.retention import Keep  # noqa: E402
from netwright.runtime.saver import Saver  # noqa: E402
from tracing import traced  # noqa: E402

# Children are forked, so that each need not import JAX anew; nothing runs on its devices here.
warnings.filterwarnings("ignore", "os.fork", RuntimeWarning)


def child(action: Callable[[], object]) -> int:
    """Run an action in a forked process."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            action()
            code = 0
        finally:
            os._exit(code)
    return pid


def kills(folder: Path, given: argparse.Namespace) -> dict:
    """SIGKILL at every system call of a save behind training, whichever thread makes it."""

    def saves(place: Path) -> Callable[[Callable[[], None]], None]:
        def action(mark: Callable[[], None]) -> None:
            with Saver(place, Keep(last=1)) as saver:
                for step in (1, 2):
                    saver.save(small_state(step), {})
                    saver.wait()
                    saver.finished()
                    if step == 1:
                        mark()

        return action

    try:
        whole = traced(saves(folder / "whole"))
    except PermissionError:
        return {"skipped": "processes may not be traced here"}
    assert whole.status == 0 and newest_whole(folder / "whole") == 2
    # How often threads wait for each other differs from run to run, so the last call is found out.
    points: Iterable[int] = itertools.count(1)
    if given.sample:
        points = sorted(random.Random(given.seed).sample(range(1, len(whole.calls)), given.sample))
    outcome: Counter[str] = Counter()
    for point in points:
        place = folder / str(point)
        run = traced(saves(place), point)
        if not run.killed:
            if point > len(whole.calls):
                break
            outcome["not reached"] += 1
            continue
        outcome["killed in the main thread" if run.calls[-1] else "killed in others"] += 1
        step = newest_whole(place)
        assert step in (1, 2), point
        outcome[f"step {step} was the newest"] += 1
        save(place, small_state(3), about={}, keep=1)
        assert newest_whole(place) == 3, point
        shutil.rmtree(place)
    return {"system calls": len(whole.calls), **outcome}


def power(folder: Path, given: argparse.Namespace) -> dict:
    """Losses of power after each call that changes the disk."""
    count = faults.losses_of_power(folder / "power", given.seed, given.tries)
    return {"disks": count}


def full(folder: Path, given: argparse.Namespace) -> dict:
    """Disks that are full after every number of bytes, by RLIMIT_FSIZE and on small tmpfs."""
    whole = folder / "whole"
    path = save(whole, small_state(2), about={}, keep=1)
    most = max(file.stat().st_size for file in path.iterdir())
    refused = 0
    limits, sizes = list(range(most + 1)), list(range(2, 40))
    if given.sample:
        chosen = random.Random(given.seed)
        limits = chosen.sample(limits, given.sample)
        sizes = sorted(chosen.sample(sizes, min(given.sample, len(sizes))))
    for limit in limits:
        place = folder / "limited"
        shutil.rmtree(place, ignore_errors=True)
        save(place, small_state(1), about={}, keep=1)

        def limited(place=place, limit=limit) -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            _saves_or_says(place)

        refused += _status(child(limited)) == 7
        _as_it_should_be(place)
    result = {"limits": len(limits), "refused": refused}
    mounted = 0
    for pages in sizes:
        place = folder / f"tmpfs{pages}"
        place.mkdir()
        size = f"size={4 * pages}k"
        mount = ["mount", "-t", "tmpfs", "-o", size, "tmpfs", place]
        if shutil.which("mount") is None or subprocess.run(mount, stderr=PIPE).returncode:
            return {**result, "skipped": "no tmpfs may be mounted here"}
        try:
            mounted += 1
            if _status(child(lambda place=place: _first(place))) == 0:
                _status(child(lambda place=place: _saves_or_says(place / "run", 3000)))
                _as_it_should_be(place / "run")
        finally:
            subprocess.run(["umount", place], check=True)
    return {**result, "tmpfs": mounted}


def _first(place: Path) -> None:
    save(place / "run", small_state(1), about={}, keep=1)


def _status(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _saves_or_says(place: Path, more: int = 0) -> None:
    """Save, or leave with 7 if that was refused with one clear error."""
    state = small_state(2)
    if more:
        state.params["more"] = faults.np.zeros(more)
    try:
        save(place, state, about={}, keep=1)
    except NotWritten as error:
        assert "cannot be written" in str(error) and str(error).count("\n") == 1
        os._exit(7)


def _as_it_should_be(place: Path) -> None:
    names = sorted(path.name for path in place.iterdir())
    assert names in (["step-00000001"], ["step-00000002"]), names
    assert newest_whole(place) in (1, 2)


def flips(folder: Path, given: argparse.Namespace) -> dict:
    """Single flipped bits and files cut short."""
    count, cuts = given.count or 10_000, max((given.count or 10_000) // 5, 1)
    path = save(folder, small_state(3), about={"name": "x"}, keep=1)
    faults.damaged(path, random.Random(given.seed), count, cuts)
    return {"flips": count, "truncations": cuts}


def deceit(folder: Path, given: argparse.Namespace) -> dict:
    """Headers and manifests made to deceive, with right sums; memory is bounded."""
    count = given.count or 1_000_000

    def run() -> None:
        now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + (256 << 20),) * 2)
        taken = faults.deceive(given.seed, count)
        (folder / "taken").write_text(str(taken))

    assert _status(child(run)) == 0
    return {"files": count, "taken": int((folder / "taken").read_text()), "megabytes": 256}


CAMPAIGNS = {"kills": kills, "power": power, "full": full, "flips": flips, "deceit": deceit}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("campaign", nargs="*", help=f"which: {', '.join(CAMPAIGNS)}; all")
    parser.add_argument("--count", type=int, help="how many, of flips and of deceit")
    parser.add_argument("--tries", type=int, default=40, help="of power: disks for each call")
    parser.add_argument("--sample", type=int, help="of kills and full: so many places, not all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    given = parser.parse_args()
    unknown = set(given.campaign) - set(CAMPAIGNS)
    if unknown:
        parser.error(f"there is no campaign {', '.join(sorted(unknown))}")

    file = given.out / "checkpoint_faults.json"
    found = json.loads(file.read_text()) if file.exists() else {}
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    for name in given.campaign or CAMPAIGNS:
        began = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            result = CAMPAIGNS[name](Path(folder), given)
        seconds = round(time.perf_counter() - began, 1)
        found[name] = {"commit": commit, "seed": given.seed, **result, "seconds": seconds}
        print(f"{name}: {', '.join(f'{key} {value}' for key, value in result.items())}", flush=True)
    given.out.mkdir(exist_ok=True)
    file.write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
