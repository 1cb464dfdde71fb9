"""The Python API: load a model, check it, compile it, and train it in a loop of one's own."""

from __future__ import annotations

import shutil
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from . import driver
from .emitted import from_file

if TYPE_CHECKING:
    from .frontend.builder.layers import PythonLayer
    from .runtime.source import Source

_IMPORTING = threading.Lock()


@dataclass(frozen=True)
class Model:
    """A model file that has been read, elaborated and checked; its sizes are proven."""

    loaded: driver.Loaded

    @property
    def module(self) -> Any:
        """The intermediate form, a `netwright.ir.core.Module`."""
        return self.loaded.module

    def check(self) -> tuple[str, ...]:
        """What the sizes of the data must fulfil, a line each; most models require nothing."""
        return self.loaded.requirements

    def compile(
        self,
        recipe: str | Path | None = None,
        plan: Any = None,
        optimizer: Any = None,
        data: Any = None,
    ) -> Compiled:
        """The training program of this model and a recipe, loaded.

        Args:
            recipe: a `recipe.toml`, or the folder that it is in; by default the model's folder.
            plan: a `netwright.ir.plan.Plan` to be obeyed instead of the one that the recipe gives.
            optimizer: what takes the place of the recipe's optimizer and schedule: a gradient
                transformation of optax, or a function of the paths of the trained parameters
                (a tuple of texts such as "gpt.blocks.attn.wq") that gives one.
            data: a `netwright.runtime.data.Source` to take instead of the recipe's [data], which
                may then be left out; or a data loader of Grain, with batches for the model.

        Raises:
            InputError: the recipe is wrong, or does not fit the model.
            TypeError: the optimizer is neither.
        """
        from .backend.program import write_program

        place = Path(recipe) if recipe is not None else self.loaded.path.parent
        chosen = driver.read_recipe(place, data_in_python=data is not None)
        files = driver.program(self.loaded, chosen, plan)
        folder = Path(tempfile.mkdtemp(prefix="netwright-"))
        write_program(files, folder)
        model, job = _load(folder)
        if optimizer is not None:
            job = replace(job, optimizer=lambda: _transformation(optimizer, model, job.settings))
        if data is not None:
            source = _source(data, chosen.train.batch)
            job = replace(job, data=lambda: source)
        return Compiled(folder, model, job)


class Compiled:
    """A training program in this process: pure functions over a train state that the caller holds.

    It is the emitted program: `model.py` and `train.py` are written into a temporary folder and
    loaded from there, so what runs here is what `netwright emit` writes.

    Attributes:
        init: (seed) -> state, a pytree of params, optimizer state, model state, rng and step.
        step: (state, batch) -> (state, metrics). The given state is donated: it is gone afterwards.
        evaluate: (state, batch) -> metrics, each (sum, count).
        predict: (state, inputs) -> what the model gives; None where the loss uses no model.
        put_batch: a batch of numpy arrays on the devices where it belongs.
        data: the recipe's data: `.batch(step)` or `.stream().next()`, `.held_out()`.
        model: the emitted module: `init_params`, `init_state`, `loss`, and a function for each
            layer.
    """

    init: Callable[..., Any]
    step: Callable[..., Any]
    evaluate: Callable[..., Any]
    predict: Callable[..., Any] | None
    put_batch: Callable[..., Any]

    def __init__(self, folder: Path, model: ModuleType, job: Any):
        program = job.build()
        self.model, self.job = model, job
        self.init, self.step, self.evaluate = program.init, program.step, program.evaluate
        self.predict, self.put_batch = program.predict, program.put_batch
        self.data = job.data()
        self.source = (folder / "model.py").read_text()
        self.sources: Mapping[str, str] = {
            name: (folder / name).read_text() for name in ("model.py", "train.py", "plan.json")
        }
        self._gone = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)


def load(model: str | Path | PythonLayer, entry: str | None = None, **settings: Any) -> Model:
    """Read, elaborate and check a model file, or a loss or model that is written in Python.

    Args:
        model: a `*.nw` file, a folder with a `model.nw`, or a function decorated with `loss` or
            `model`.
        entry: the name of a loss or model; by default the file's last loss, else its last model.
        settings: other sizes of dims and values of constants, such as `D=256`.

    Raises:
        InputError: everything that is wrong with it; `str()` of it is the message for people.
    """
    if isinstance(model, str | Path):
        return Model(driver.load(Path(model), settings, entry))
    return Model(driver.load_python(model, settings))


def _transformation(optimizer: Any, model: ModuleType, settings: Any) -> Any:
    """The gradient transformation that is meant by the argument of `Model.compile`."""
    import jax
    import optax

    from .runtime.state import leaves_by_path, split

    if callable(optimizer):
        params = jax.eval_shape(lambda: model.init_params(jax.random.key(0)))
        trained, _ = split(params, settings.frozen)
        optimizer = optimizer(tuple(".".join(path) for path in leaves_by_path(trained)))
    if not isinstance(optimizer, optax.GradientTransformation):
        raise TypeError(
            "optimizer must be a gradient transformation of optax, such as optax.adam(1e-3), or a"
            " function of the parameters' paths that gives one; it is"
            f" {type(optimizer).__name__}."
        )
    return optimizer


def _source(data: Any, batch: int) -> Source:
    """Data of one's own as a source."""
    from .runtime.data import Loader, Source

    return data if isinstance(data, Source) else Loader(data, batch=batch)


def _load(folder: Path) -> tuple[ModuleType, Any]:
    """The modules of a program, under names of their own, with this installation's runtime."""
    from . import runtime

    unique = folder.name.replace("-", "_")
    model = from_file(f"{unique}_model", folder / "model.py")
    # train.py says `import model` and `from runtime import …`; for that moment the names mean
    # these.
    with _IMPORTING:
        saved = {name: sys.modules.get(name) for name in ("model", "runtime")}
        sys.modules["model"], sys.modules["runtime"] = model, runtime
        try:
            train = from_file(f"{unique}_train", folder / "train.py")
        finally:
            for name, module in saved.items():
                if module is None:
                    del sys.modules[name]
                else:
                    sys.modules[name] = module
    return model, train.JOB
