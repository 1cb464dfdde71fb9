"""The command line of an emitted program: `python train.py`, with `evaluate`, `sample` and others.

Exit codes: 0 fine; 1 something outside the program is wrong, said without a traceback; 2 usage;
130 and 143 stopped by Ctrl-C and SIGTERM, with a checkpoint.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from . import processes
from .errors import RunError
from .facts import KINDS
from .hints import Hints
from .processes import Joined
from .source import Source
from .windows import Windows

if TYPE_CHECKING:
    from .job import Job

# What loads JAX is imported where it is used, so that --help and a mistyped option answer at once.


def main(job: Job, argv: list[str] | None = None) -> int:
    """Run the command line `argv` (default: this process's) on `job`; returns the exit code."""
    parser = _parser(job)
    arguments = parser.parse_args(argv)
    if arguments.action is None:
        if arguments.allow and arguments.resume is None:
            parser.error("--allow goes with --resume")
        if arguments.resume and arguments.run and arguments.resume != arguments.run:
            parser.error("--run and --resume name different folders; one of them is enough")
        if arguments.steps is not None and arguments.steps < 1:
            parser.error("--steps must be at least 1")
    action = {
        None: _train,
        "evaluate": _evaluate,
        "sample": _sample,
        "diagnose": _diagnose,
    }[arguments.action]
    joined = Joined()
    try:
        joined = processes.join(arguments)
        return action(job, arguments, joined)
    except RunError as error:
        return _ended(f"error: {error}", 1, joined)
    except KeyboardInterrupt:
        return _ended("stopped at once; the last checkpoint is as it was", 130, joined)
    except RuntimeError as error:
        if (told := processes.lost(error, joined)) is None:
            raise
        return _ended(f"error: {told}", 1, joined)
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _ended(text: str, code: int, joined: Joined) -> int:
    """Say why the program ends, with which code."""
    who = f"process {joined.number}: " if joined.number else ""
    print(f"{who}{text}", file=sys.stderr, flush=True)
    if joined.count > 1:
        os._exit(code)  # JAX would wait for the others, who may be waiting for this one
    return code


def _train(job: Job, arguments: argparse.Namespace, joined: Joined) -> int:
    from .loop import train
    from .open_run import METRICS
    from .progress import duration, figures
    from .step import rates
    from .stop import Stop, StopTogether
    from .summary import read, summarise

    default = job.folder / "run"
    run = Path(arguments.resume or arguments.run or default)
    steps = job.steps if arguments.steps is None else arguments.steps
    resuming = arguments.resume is not None
    hints = _hints(arguments, joined, run, default)
    with Stop() if joined.count == 1 else StopTogether() as stop:
        result = train(
            job,
            run,
            steps=steps,
            resume=resuming,
            allow=arguments.allow,
            stopped=stop.asked,
            look_again=hints.diagnose(),
        )
    again = () if steps == job.steps else ("--steps", str(steps))
    script = os.path.relpath(job.folder / "train.py")
    code = 0
    if stop.signal is not None and result.step < steps and result.early is None:
        code = 128 + stop.signal
    if joined.number:
        return code  # the first process says how it went
    if code:
        if not result.step:
            print("stopped before the first step; nothing to save")
        else:
            print(f"stopped at step {result.step} of {steps}, and saved")
            print(f"to go on: {hints.resume(*again)}", flush=True)
        return code
    if result.started == result.step:
        print(f"the run is at step {result.step} already")
    else:
        held_out = f"   held out: {figures(result.held_out)}" if result.held_out else ""
        print(f"done: {result.step} steps, {duration(result.seconds)}{held_out}")
        for line in summarise(read(run / METRICS)).lines():
            print(line)
        print(f"run:     {run}")
    if result.early is not None:
        print(f"ended early: {result.early}")
        print(f"go on:   a larger patience= in {script}, then {hints.resume(*again)}")
    else:
        print(f"go on:   {hints.resume('--steps', str(2 * result.step))}")
        if rates(job.optimizer(), result.state, job.settings).get("learning_rate") == 0:
            print(f"         at a learning rate of 0: its schedule, in {script}, ends here")
    if hasattr(job.model, "predict") and _speaks(result.source):
        print(f"sample:  {hints.sample()}")
    sys.stdout.flush()
    return 0


def _evaluate(job: Job, arguments: argparse.Namespace, joined: Joined) -> int:
    from .evaluate import Evaluator
    from .progress import figures

    program, state, source = _load(job, arguments)
    values = Evaluator(program)(state, source.held_out())
    if values is None:
        raise RunError("the data have no held-out part; give the source held_out above 0.")
    if not joined.number:
        print(f"step {int(state.step)}: held out   {figures(values)}", flush=True)
    return 0


def _diagnose(job: Job, arguments: argparse.Namespace, joined: Joined) -> int:
    from .bad_step import look_again

    if joined.count > 1:
        raise RunError("a bad step is looked into by one process.")
    for line in look_again(job, Path(arguments.run or job.folder / "run"), arguments.step):
        print(line)
    sys.stdout.flush()
    return 0


def _sample(job: Job, arguments: argparse.Namespace, joined: Joined) -> int:
    from .sample import sample

    if joined.count > 1:
        raise RunError("text is sampled by one process.")
    program, state, source = _load(job, arguments)
    if not _speaks(source):
        raise RunError(
            "text can be sampled only from a model of text, or of tokens with a tokenizer."
        )
    assert isinstance(source, Windows) and source.speaks is not None
    prompt = source.speaks.encode(arguments.prompt or "\n").tolist()
    decode = source.speaks.decoder(prompt)
    print(arguments.prompt, end="", flush=True)
    for token in sample(
        program,
        state,
        prompt,
        length=arguments.length,
        window=source.length,
        known=source.speaks.size,
        temperature=arguments.temperature,
        top_k=arguments.top_k,
        seed=arguments.seed,
        field=source.field_of("tokens") or "tokens",
    ):
        print(decode(token), end="", flush=True)
    print(flush=True)
    return 0


def _speaks(source: Source) -> bool:
    """Whether what is drawn from a model of these data can be read."""
    return isinstance(source, Windows) and source.speaks is not None


def _load(job: Job, arguments: argparse.Namespace):
    """The program, the newest checkpoint of the run, and the data."""
    from .loop import CHECKPOINTS
    from .restore import newest

    run = Path(arguments.run or job.folder / "run")
    source = job.data()
    program = job.build()
    state, _, _ = newest(
        run / CHECKPOINTS,
        program.abstract,
        lambda text: print(f"warning: {text}", file=sys.stderr, flush=True),
        program.placement and program.placement.state,
    )
    return program, state, source


def _hints(arguments: argparse.Namespace, joined: Joined, run: Path, default: Path) -> Hints:
    script = sys.argv[0] if sys.argv[0].endswith(".py") else "train.py"
    same = run.resolve() == default.resolve()
    return Hints(arguments.commands, script, run, same, joined.options)


def _parser(job: Job) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=f"Train {job.name}; or evaluate it, or sample text from it.",
        epilog="'%(prog)s evaluate --help' and '%(prog)s sample --help' say more.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--steps",
        type=int,
        metavar="N",
        help=f"stop after step N (default {job.steps}); the optimizer's schedule stays as written",
    )
    _add_run(parser, None)
    parser.add_argument(
        "--resume",
        nargs="?",
        const="",
        metavar="RUN",
        help="go on from the newest checkpoint of the run",
    )
    parser.add_argument(
        "--allow",
        action="append",
        choices=KINDS,
        default=[],
        help="go on although this has changed since the checkpoint; may be repeated",
    )
    processes.add_options(parser)
    actions = parser.add_subparsers(dest="action", metavar="ACTION", title="other actions")
    about = "evaluate the newest checkpoint on all held-out data"
    evaluating = actions.add_parser("evaluate", help=about, description=about)
    _add_run(evaluating, argparse.SUPPRESS)
    processes.add_options(evaluating, argparse.SUPPRESS)
    about = "say what went wrong in a step that was not finite; the run has kept it"
    looking = actions.add_parser("diagnose", help=about, description=about)
    _add_run(looking, argparse.SUPPRESS)
    looking.add_argument("--step", type=_whole, metavar="N", help="which (the last one)")
    about = "write text that the newest checkpoint makes up"
    sampling = actions.add_parser("sample", help=about, description=about)
    _add_run(sampling, argparse.SUPPRESS)
    sampling.add_argument("--prompt", default="\n", metavar="TEXT", help="what to go on from")
    sampling.add_argument("--length", type=_whole, default=500, metavar="N", help="tokens (500)")
    sampling.add_argument(
        "--temperature", type=_not_negative, default=0.8, metavar="T", help="0: the likeliest (0.8)"
    )
    sampling.add_argument("--top-k", type=_whole, metavar="K", help="draw among K only")
    sampling.add_argument("--seed", type=int, default=0, metavar="N", help="of the drawing (0)")
    return parser


def _add_run(parser: argparse.ArgumentParser, default: str | None) -> None:
    # SUPPRESS for actions, lest their default undo what stands before the action's name
    parser.add_argument(
        "--run", default=default, metavar="DIR", help="the run's folder (default: run, beside this)"
    )
    parser.add_argument(
        "--commands",
        choices=("python", "netwright"),
        default="python" if default is None else default,
        help=argparse.SUPPRESS,  # in whose words to name the next commands
    )


def _whole(text: str) -> int:
    if (value := int(text)) < 1:
        raise ValueError
    return value


def _not_negative(text: str) -> float:
    if not (value := float(text)) >= 0:
        raise ValueError
    return value
