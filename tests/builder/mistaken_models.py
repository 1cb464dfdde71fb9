"""Python that makes no model, a function for each mistake; golden_mistakes.txt has the messages."""

# ruff: noqa: B007, F821, F841, RUF059

import netwright as nw
import numpy as np

B, S, T = nw.dims("B S T")
D, F, K = nw.dims(D=8, F=16, K=4)
drop = nw.const(drop=0.1)
CASES = {}


def case(fn):
    CASES[fn.__name__] = fn
    return fn


def model(fn, **kw):
    return nw.load(nw.model(fn), **kw)


@case
def truth():
    def M(x: nw.f[B, D]) -> nw.f[B, D]:
        if x > 0:
            return x
        return -x

    model(M)


@case
def truth_of_size():
    def M(x: nw.f[B, D]) -> nw.f[B, D]:
        if D > 4:
            return x
        return -x

    model(M)


@case
def chained():
    def M(x: nw.f[B, D]) -> nw.f[B, D]:
        return nw.where(0 < x < 1, x, 0.0)

    model(M)


@case
def iterate():
    def M(x: nw.f[B, D]) -> nw.f[B, D]:
        for row in x:
            pass
        return x

    model(M)


@nw.layer[D]
def Soft(x: nw.f[..., D], cap=30.0) -> nw.f[..., D]:
    return cap * nw.tanh(x / cap)


@case
def outside():
    Soft(np.ones(8))


@case
def param_outside():
    nw.param("w", [D], nw.ones())


@case
def foreign():
    kept = []

    @nw.layer[D]
    def A(x: nw.f[..., D]) -> nw.f[..., D]:
        kept.append(x)
        return x

    @nw.layer[D]
    def C(x: nw.f[..., D]) -> nw.f[..., D]:
        return x + kept[0]

    def M(x: nw.f[B, D]) -> nw.f[B, D]:
        a = nw.use(A)
        c = nw.use(C)
        return c(a(x))

    model(M)


@case
def left_over():
    def M(x: nw.f[B, D]) -> nw.f[B, F]:
        w = nw.param("w", [D, K, F], nw.normal(0.02))
        y = nw.relu(x)
        return nw.dot[D](y, w)

    model(M)


@case
def method():
    def M(x: nw.f[B, D]) -> nw.f[B]:
        return x.sum(1)

    model(M)


@case
def shape():
    def M(x: nw.f[B, D]) -> nw.f[B]:
        return x.shape[0]

    model(M)


@case
def matmul():
    def M(x: nw.f[B, D]) -> nw.f[B, F]:
        w = nw.param("w", [D, F], nw.normal(0.02))
        return x @ w

    model(M)


@case
def indexing():
    def M(x: nw.f[B, D]) -> nw.f[B, F]:
        return x[:, 0]

    model(M)


@case
def numpy_op():
    def M(x: nw.f[B, D]) -> nw.f[B, D]:
        return np.exp(x)

    model(M)


@case
def numpy_array():
    def M(x: nw.f[B, D]) -> nw.f[B, D]:
        return x + np.ones(8)

    model(M)


@case
def lower_dim():
    nw.dims("b")


@case
def no_result():
    @nw.layer[D]
    def A(x: nw.f[..., D]):
        return x


@case
def axis():
    def M(x: nw.f[B, D]) -> nw.f[B]:
        return nw.sum[1](x)

    model(M)


@case
def axis_kw():
    def M(x: nw.f[B, D]) -> nw.f[B]:
        return nw.sum(x, axis=1)

    model(M)


@case
def wrong_option():
    def M(x: nw.f[B, D]) -> nw.f[B, D]:
        a = nw.use(Soft, caps=20.0)
        return a(x)

    model(M)


@case
def operands():
    def M(x: nw.f[B, D]) -> nw.f[B, D]:
        w = nw.param("w", [F], nw.ones())
        scaled = x * w
        return scaled

    model(M)


@case
def state_assign():
    def M(x: nw.f[B, D]) -> nw.f[B, D]:
        y = x * 2
        y << x
        return y

    model(M)


@case
def params_in_call():
    @nw.layer[D]
    def Lin(x: nw.f[..., D]) -> nw.f[..., D]:
        w = nw.param("w", [D], nw.ones())
        return x * w

    def M(x: nw.f[B, D]) -> nw.f[B, D]:
        return Lin(x)

    model(M)


@case
def several():
    def M(x: nw.f[B, D]) -> nw.f[B, K]:
        best = nw.top_k[D >> K](x)
        return best * 2

    model(M)


@case
def number_of_results():
    def M(x: nw.f[B, D]) -> nw.f[B, K]:
        a, b, c = nw.top_k[D >> K](x)
        return a

    model(M)


@case
def escape():
    def M(x: nw.f[B, D]) -> nw.f[B, D]:
        kept = []

        def noisy():
            y = nw.dropout(x, rate=0.5)
            kept.append(y)
            return y

        z = nw.cond(nw.train, noisy, lambda: x)
        return z + kept[0]

    model(M)


@case
def branch_count():
    def M(x: nw.f[B, D]) -> nw.f[B, D]:
        z = nw.cond(nw.train, lambda: (x, x), lambda: x)
        return z

    model(M)


@case
def train_if():
    def M(x: nw.f[B, D]) -> nw.f[B, D]:
        return x if nw.train else -x

    model(M)


@case
def misspelt_set():
    def M(x: nw.f[B, D]) -> nw.f[B, D]:
        return x

    model(M, DD=3)


@case
def layer_entry():
    nw.load(Soft)


@case
def rebinding_a_param():
    def M(x: nw.f[B, D]) -> nw.f[B, D]:
        scale = nw.param("scale", [D], nw.ones())
        scale = scale * 2
        return x * scale

    model(M)


@case
def recursion():
    @nw.layer[D]
    def R(x: nw.f[..., D]) -> nw.f[..., D]:
        r = nw.use(R)
        return r(x)

    def M(x: nw.f[B, D]) -> nw.f[B, D]:
        r = nw.use(R)
        return r(x)

    model(M)


@case
def text_dim():
    def M(x: nw.f[B, D]) -> nw.f[B]:
        return nw.sum["D"](x)

    model(M)


@case
def two_mistakes():
    def M(x: nw.f[B, D]) -> nw.f[B]:
        a = nw.sum[K](x)
        b = nw.mean[F](x)
        return a + b

    model(M)


@case
def range_of_dim():
    def M(x: nw.f[B, D]) -> nw.f[B, D]:
        for i in range(D):
            x = x + i
        return x

    model(M)


@case
def infinite():
    def M(x: nw.f[B, D]) -> nw.f[B, D]:
        return nw.where(x > 0, x, float("-inf"))

    model(M)


@case
def mask_and():
    def M(x: nw.f[B, D]) -> nw.f[B, D]:
        return nw.where(x > 0 and x < 1, x, 0.0)

    model(M)


@case
def no_return():
    def M(x: nw.f[B, D]) -> nw.f[B, D]:
        y = x * 2

    model(M)


@case
def free_unbound():
    def M(x: nw.f[B, D]) -> nw.f[B, D]:
        w = nw.param("w", [T], nw.ones())
        return x * nw.sum[T](w)

    model(M)


@case
def state_alias():
    def M(x: nw.f[B, D]) -> nw.f[B, D]:
        n = nw.state("n", [], nw.zeros())
        before = n
        n << n + 1
        return x * before

    model(M)


@case
def scan_hands_on_nothing():
    def M(x: nw.f[B, S, D]) -> nw.f[B, S, D]:
        def step(x, h):
            h = h + x
            return h

        h, ys = nw.scan[S](step, carry=dict(h=nw.zeros[B, D]()), x=x)
        return ys

    model(M)


@case
def scan_hands_on_too_much():
    def M(x: nw.f[B, S, D]) -> nw.f[B, S, D]:
        def step(x, h):
            return (h, x), x

        h, ys = nw.scan[S](step, carry=dict(h=nw.zeros[B, D]()), x=x)
        return ys

    model(M)


@case
def scan_carry_changes():
    def M(x: nw.f[B, S, D]) -> nw.f[B, S, D]:
        def step(x, h):
            h = h + x
            return h, h

        h, ys = nw.scan[S](step, carry=dict(h=nw.zeros[B]()), x=x)
        return ys

    model(M)


@case
def scan_without_dim():
    def M(x: nw.f[B, S, D]) -> nw.f[B, S, D]:
        _, ys = nw.scan(lambda x: (None, x), x=x)
        return ys

    model(M)


@case
def use_of_nothing():
    def M(x: nw.f[B, D]) -> nw.f[B, D]:
        a = nw.use(nw.relu)
        return a(x)

    model(M)


@case
def repeat_without_dim():
    def M(x: nw.f[B, D]) -> nw.f[B, D]:
        a = nw.repeat(Soft)
        return a(x)

    model(M)


@case
def value_at_use():
    def M(x: nw.f[B, D]) -> nw.f[B, D]:
        a = nw.use(Soft, x=x)
        return a()

    model(M)


@case
def annotation():
    def M(x: "nw.f[B, Unheard]") -> nw.f[B, D]:
        return x

    model(M)


@case
def const_in_a_layer():
    def M(x: nw.f[B, D]) -> nw.f[B, D]:
        rate = nw.const(rate=0.1)
        return x * rate

    model(M)


@case
def free_dim_in_a_layer():
    def M(x: nw.f[B, D]) -> nw.f[B, D]:
        Z = nw.dims("Z")
        return x

    model(M)


@case
def size_is_a_float():
    nw.dims(Z=2.5)


@case
def size_is_zero():
    nw.dims(Z=0)


@case
def brackets_twice():
    nw.mean[D][K]


@case
def stars():
    @nw.layer[D]
    def A(*xs) -> nw.f[..., D]:
        return xs


@case
def named_results():
    def M(x: nw.f[B, D]) -> {"y": nw.f[B, D], "z": nw.f[B, D]}:
        return {"y": x, "w": x}

    model(M)


@case
def length():
    def M(x: nw.f[B, D]) -> nw.f[B, D]:
        return x / len(x)

    model(M)


@case
def float_of():
    def M(x: nw.f[B, D]) -> nw.f[B, D]:
        return x * float(x)

    model(M)


@case
def instances_one_by_one():
    def M(x: nw.f[B, D]) -> nw.f[B, D]:
        for block in nw.repeat[K](Soft):
            x = block(x)
        return x

    model(M)


@case
def instance_of_another_layer():
    kept = []

    @nw.layer[D]
    def A(x: nw.f[..., D]) -> nw.f[..., D]:
        kept.append(nw.use(Soft))
        return x

    @nw.layer[D]
    def C(x: nw.f[..., D]) -> nw.f[..., D]:
        return kept[0](x)

    def M(x: nw.f[B, D]) -> nw.f[B, D]:
        a = nw.use(A)
        c = nw.use(C)
        return c(a(x))

    model(M)


@case
def outer_value():
    def M(x: nw.f[B, D]) -> nw.f[B, D]:
        @nw.layer[D]
        def Inner(y: nw.f[..., D]) -> nw.f[..., D]:
            return x + y

        inner = nw.use(Inner)
        return inner(x)

    model(M)


@case
def two_dims_of_one_name():
    one, two = nw.dims(E=2), nw.dims(E=3)

    def M(x: nw.f[B, one], y: nw.f[B, two]) -> nw.f[B]:
        return nw.sum[one](x) + nw.sum[two](y)

    model(M)


@case
def entry_is_no_layer():
    nw.load(lambda x: x)


@case
def not_a_function():
    nw.layer(3)


@case
def attribute():
    def M(x: nw.f[B, D]) -> nw.f[B, D]:
        return x.T

    model(M)


@case
def type_of_text():
    def M(x: nw.f["B", D]) -> nw.f[B, D]:
        return x

    model(M)


@case
def arrow_in_a_row():
    def M(x: nw.f[B, D]) -> nw.f[B, D]:
        return nw.rename[D >> K >> F](x)

    model(M)


@case
def promise_broken():
    def M(x: nw.f[B, D]) -> nw.f[B]:
        y = nw.relu(x)
        return y

    model(M)


@case
def non_ascii_line():
    def M(x: nw.f[B, D]) -> nw.f[B, D]:
        return ("größe", nw.sum[K](x))[1]

    model(M)
