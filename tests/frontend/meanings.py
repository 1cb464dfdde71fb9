"""What the tests of elaboration share: the meaning of a model in numpy, and parts of its module."""

import numpy as np
from netwright.ir.evaluate import evaluate


def arrays(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def run(module, params, inputs, state=None, train=False, **more):
    results, states, metrics = evaluate(module, params, state or {}, inputs, train=train, **more)
    return results, states, metrics


def value(module, params, *inputs, **more):
    ((result, *_), _, _) = run(module, params, inputs, **more)
    return result


def sizes(module, path=""):
    return {d.name: str(d.size) for d in module.instance(path).dims}


def shape_of(module, path, name):
    instance = module.instance(path)
    variable = next(v for v in (*instance.params, *instance.states) if v.name == name)
    return [(d.name, str(d.size)) for d in variable.order]


def codes(error):
    return [d.code for d in error.value.diagnostics]
