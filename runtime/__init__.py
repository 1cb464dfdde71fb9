"""The runtime of a training program: everything that is not the model, the same for all of them.

It is copied into each program's folder as `runtime/` and needs only jax, numpy, optax (and rich, if
it is there). A program is a `model.py` and a short script:

    import optax
    import model
    from runtime import Job, data, main

    def optimizer():
        return optax.adamw(optax.cosine_decay_schedule(3e-3, 2000))

    def batches():
        return data.Text(HERE / "data/text.txt", length=128, batch=32, held_out=0.1)

    JOB = Job(name="next_token", model=model, optimizer=optimizer, data=batches, steps=2000)

    if __name__ == "__main__":
        sys.exit(main(JOB))

`Job` says what its fields mean. The model module offers

    init_params(key) -> params                  nested dicts of arrays
    init_state() -> state                       the same, {} without state
    loss(params, state, batch, key, train)      -> (scalar, (state, metrics)); metrics: name ->
                                                (sum, count), "loss" among them
    predict(params, state, inputs) -> results   optional: the model in evaluation mode
    PARAM_SPECS, STATE_SPECS, BATCH_SPECS       trees of PartitionSpec, only if written for a mesh

In a run's folder stand `checkpoints/` (safetensors, by path) and `metrics.jsonl`.

From a loop of one's own, without command line, logs or checkpoints (these import JAX):

    from runtime.step import build              program = build(model, optimizer, mesh)
                                                .init(seed) .step .evaluate .predict .put_batch
    from runtime.evaluate import Evaluator      Evaluator(program)(state, batches) -> means
    from runtime.loop import train              train(job, run, steps=…, resume=…) -> Result
    from runtime.sample import sample           sample(program, state, prompt, …) -> bytes

Whatever a person can put right is raised as `RunError`.
"""

from __future__ import annotations

from . import data
from .cli import main
from .errors import RunError
from .job import Job
from .retention import Keep
from .settings import Settings

__all__ = ["Job", "Keep", "RunError", "Settings", "data", "main"]
