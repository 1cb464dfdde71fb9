"""How fast checkpoints are written and read, beside np.save and Orbax in the same run.

    python benchmarks/checkpoints.py --megabytes 1000 --times 5

The ways take turns, and turns in who is first; medians are printed. Before each save the disk has
some seconds for what others left it to do, such as to give back what was deleted, and restores are
measured more often than saves: a virtual disk reads the same file fast at one time and slowly at
another. np.save writes each array to a file, which is then synced; it and Orbax check nothing when
they read. Each restore is the first one of a process of its own, as in resuming, which has read a
small one before for what is loaded then. The figures go to `results/checkpoints.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
os.environ.setdefault("JAX_PLATFORMS", "cpu")
LEAF = 4 << 20  # numbers in a leaf: 16 MB
PAUSE = 5.0  # seconds before a save
ROUNDS = 3  # of restores in a turn

Times = dict[str, list[float]]


def form(megabytes: int):
    """The shapes of a state of float32 leaves of 16 MB."""
    import jax
    from netwright.runtime import scale
    from netwright.runtime.state import TrainState

    def made():
        numbers = range(round(megabytes * 1e6 / (4 * LEAF)))
        params = {f"leaf{n:03}": jax.numpy.zeros((1024, LEAF // 1024)) for n in numbers}
        step, key = jax.numpy.int32(0), jax.numpy.uint32([1, 2])
        return TrainState(params, (), {}, key, step, scale.create(None), {})

    return jax.eval_shape(made)


def make(megabytes: int):
    """Such a state, of random numbers."""
    import jax
    import numpy as np

    rng = np.random.default_rng(0)

    def leaf(shape):
        small = shape.dtype != np.float32 or not shape.shape
        return jax.device_put(
            np.zeros(shape.shape, shape.dtype) if small else rng.random(shape.shape, np.float32)
        )

    return jax.tree.map(leaf, form(megabytes))


def at(state, step: int):
    """The state of another step."""
    import jax.numpy as jnp

    return state._replace(step=jnp.int32(step))


def rest() -> None:
    """Have the disk do what is left to be done: Orbax syncs nothing, and nobody what it deletes."""
    os.sync()
    time.sleep(PAUSE)


def timed(action: Callable[[], object]) -> float:
    """Seconds."""
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def rotated(ways: list, turn: int) -> list:
    """The same, another of them first at each turn: disks get slower when they had much to do."""
    return ways[turn % len(ways) :] + ways[: turn % len(ways)]


def forget(folder: Path) -> None:
    """Have the files of a folder read from the disk, and not from memory."""
    for path in folder.rglob("*"):
        if path.is_file():
            handle = os.open(path, os.O_RDONLY)
            os.fsync(handle)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(handle)


def np_save(folder: Path, state) -> None:
    import jax
    import numpy as np

    folder.mkdir()
    for number, leaf in enumerate(jax.tree.leaves(state)):
        with (folder / f"{number}.npy").open("wb") as file:
            np.save(file, np.asarray(leaf))
            file.flush()
            os.fsync(file.fileno())


def with_orbax(folder: Path, state) -> None:
    import orbax.checkpoint as ocp

    with ocp.StandardCheckpointer() as orbax:
        orbax.save(folder, state._asdict())


def np_load(folder: Path, abstract) -> list:
    import jax
    import numpy as np

    count = len(jax.tree.leaves(abstract))
    return [jax.device_put(np.load(folder / f"{number}.npy")) for number in range(count)]


def orbax_restore(folder: Path, abstract):
    import jax
    import orbax.checkpoint as ocp

    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    target = jax.tree.map(
        lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=sharding), abstract._asdict()
    )
    return ocp.StandardCheckpointer().restore(folder, target)


def our_restore(folder: Path, abstract):
    from netwright.runtime.checkpoint import open_checkpoint
    from netwright.runtime.restore import restore

    return restore(open_checkpoint(folder), abstract)


RESTORES = {"np.load": np_load, "Orbax": orbax_restore, "Netwright": our_restore}


def restored(way: str, megabytes: int, small: Path, folder: Path) -> float:
    """Seconds of restoring in this process."""
    import jax

    jax.block_until_ready(RESTORES[way](small, form(0)))
    abstract = form(megabytes)
    os.sync()
    return timed(lambda: jax.block_until_ready(RESTORES[way](folder, abstract)))


def in_a_process(*arguments: object) -> float:
    """What this script prints when it is given these arguments."""
    command = [sys.executable, __file__, *map(str, arguments)]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def measure(megabytes: int, times: int, folder: Path) -> dict[str, Times]:
    """Seconds of each way, by what was done."""
    from netwright.runtime.retention import Keep
    from netwright.runtime.saver import Saver, save

    state, none = make(megabytes), make(0)
    np_save(folder / "small-numpy", none)
    with_orbax(folder / "small-orbax", none)
    small = save(folder / "small", none, about={})
    found: dict[str, Times] = {
        what: {} for what in ("save", "blocked", "read back", "restore", "restore from disk")
    }

    def note(what: str, way: str, seconds: float) -> None:
        found[what].setdefault(way, []).append(seconds)

    with Saver(folder / "ours", Keep(last=1)) as saver:
        saver.save(at(state, 0), {})  # the first one makes the memory for the copies
        saver.wait()
        saver.finished()
        for turn in range(1, times + 1):
            # each deletes its last one after the new one is written, and so do we
            numpys, orbaxes = folder / f"numpy-{turn}", folder / f"orbax-{turn}"

            def saved_by_numpy(folder=numpys) -> None:
                rest()
                note("save", "np.save + fsync", timed(lambda: np_save(folder, state)))

            def saved_by_orbax(folder=orbaxes) -> None:
                rest()
                note("save", "Orbax", timed(lambda: with_orbax(folder, state)))

            def saved_by_us(step=2 * turn) -> None:
                now = at(state, step)
                rest()
                saver.save(now, {}, wait=True)
                (saved,) = saver.finished()
                note("save", "Netwright", saved.writing)
                note("read back", "Netwright", saved.reading)
                synchronous = saved.writing + saved.reading
                saver.save(at(state, step + 1), {})
                saver.wait()
                (saved,) = saver.finished()
                note("blocked", "Netwright", saved.blocked)
                note("blocked", "share", saved.blocked / synchronous)

            for save_it in rotated([saved_by_numpy, saved_by_orbax, saved_by_us], turn):
                save_it()
            for last in ("numpy", "orbax"):
                shutil.rmtree(folder / f"{last}-{turn - 1}", ignore_errors=True)
            (ours,) = (folder / "ours").glob("step-*")
            ways = [
                ("np.load", folder / "small-numpy", numpys),
                ("Orbax", folder / "small-orbax", orbaxes),
                ("Netwright", small, ours),
            ]
            for again in range(ROUNDS):
                for way, small_one, path in rotated(ways, turn + again):
                    given = ("--restore", way, "--megabytes", megabytes, "--folder", path)
                    note("restore", way, in_a_process(*given, "--small", small_one))
                    forget(path)
                    note("restore from disk", way, in_a_process(*given, "--small", small_one))
    return found


def memory(megabytes: int, folder: Path) -> float:
    """How much host memory saving behind training takes, as a share of the state."""
    import jax
    from netwright.runtime.retention import Keep
    from netwright.runtime.saver import Saver

    state = jax.block_until_ready(make(megabytes))
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(state))

    def resident(which: str) -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(which))

    with Saver(folder / "memory", Keep(last=1)) as saver:
        before = resident("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the most that was used is counted anew
        for step in range(3):
            saver.save(at(state, step), {})
        saver.wait()
    return (resident("VmHWM") - before) / size


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--megabytes", type=int, default=1000, help="the size of the state")
    parser.add_argument("--times", type=int, default=5, help="how often each is done")
    parser.add_argument("--folder", type=Path, default=Path("/tmp/netwright-checkpoints"))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--memory", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--restore", choices=RESTORES, help=argparse.SUPPRESS)
    parser.add_argument("--small", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.restore:  # in a process of its own, which this is
        print(restored(given.restore, given.megabytes, given.small, given.folder))
        return 0

    shutil.rmtree(given.folder, ignore_errors=True)
    given.folder.mkdir(parents=True)
    if given.memory:  # in a process of its own, which this is
        print(memory(given.megabytes, given.folder))
        return 0
    process = given.folder / "process"
    share = in_a_process("--memory", "--megabytes", given.megabytes, "--folder", process)
    found = measure(given.megabytes, given.times, given.folder)
    shutil.rmtree(given.folder)

    medians = {
        what: {way: statistics.median(seconds) for way, seconds in ways.items()}
        for what, ways in found.items()
    }
    gigabytes = given.megabytes / 1000
    for what, ways in medians.items():
        for way, seconds in ways.items():
            if way == "share":
                print(f"{'':18} of a save that is waited for{seconds:9.1%}")
            else:
                rate = "" if what == "blocked" else f"{gigabytes / seconds:9.2f} GB/s"
                print(f"{what:18} {way:16} {seconds * 1000:9.0f} ms {rate}")
    print(f"{'host memory':18} of the state     {share:9.2f}")
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    rows = {"commit": commit, "megabytes": given.megabytes, "times": given.times}
    load = round(os.getloadavg()[0], 1)
    result = {**rows, "load_average": load, "seconds": medians, "host_memory": share}
    given.out.mkdir(exist_ok=True)
    (given.out / "checkpoints.json").write_text(json.dumps(result, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
