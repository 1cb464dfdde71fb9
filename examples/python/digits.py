"""A small residual convolutional network for handwritten digits, with BatchNorm."""

import netwright as nw

B = nw.dims("B")  # images: bound by the data
Y, X = nw.dims(Y=8, X=8)  # rows and columns
C = nw.dims(C=1)  # channels of the image
W, W2 = nw.dims(W=32, W2=64)  # channels inside
Y2, X2 = nw.dims(Y2=4, X2=4)  # rows and columns after the stride
N = nw.dims(N=10)  # digits
Co, Yo, Xo = nw.dims("Co Yo Xo")  # what a convolution makes


@nw.layer[C]
def BatchNorm(x: nw.f[..., C], momentum=0.9, eps=1e-5) -> nw.f[..., C]:
    """Normalises over all but C; outside training, by running averages (Ioffe and Szegedy 2015)."""
    scale = nw.param("scale", [C], nw.ones())
    shift = nw.param("shift", [C], nw.zeros())
    average = nw.state("average", [C], nw.zeros())
    variance = nw.state("variance", [C], nw.ones())

    def measured():
        m = nw.mean[...](x)
        v = nw.mean[...](nw.square(x - m))
        average << momentum * average + (1 - momentum) * m
        variance << momentum * variance + (1 - momentum) * v
        return m, v

    m, v = nw.cond(nw.train, measured, lambda: (average, variance))
    return (x - m) * nw.rsqrt(v + eps) * scale + shift


@nw.layer[C >> Co, Y >> Yo, X >> Xo]
def Conv(x: nw.f[..., Y, X, C], stride=1, act=nw.relu) -> nw.f[..., Yo, Xo, Co]:
    """A 3×3 convolution, BatchNorm, and a pointwise op."""
    Ky, Kx = nw.dims(Ky=3, Kx=3)
    w = nw.param("w", [Ky, Kx, C, Co], nw.he_normal[Ky * Kx * C]())
    norm = nw.use(BatchNorm[C:Co])
    return act(norm(nw.conv[Y * Ky >> Yo, X * Kx >> Xo, C](x, w, stride=stride, pad="same")))


@nw.layer[Y, X, C]
def Residual(x: nw.f[..., Y, X, C]) -> nw.f[..., Y, X, C]:
    first = nw.use(Conv[C >> C, Y >> Y, X >> X])
    second = nw.use(Conv[C >> C, Y >> Y, X >> X])
    return x + second(first(x))


@nw.model
def Digits(image: nw.f[B, Y, X]) -> nw.f[B, N]:
    stem = nw.use(Conv[C >> W, Y >> Y, X >> X])
    wide = nw.use(Residual[C:W])
    down = nw.use(Conv[W >> W2, Y >> Y2, X >> X2], stride=2)
    deep = nw.use(Residual[Y:Y2, X:X2, C:W2])
    out = nw.param("out", [W2, N], nw.lecun_normal[W2]())
    bias = nw.param("bias", [N], nw.zeros())
    x = deep(down(wide(stem(nw.expand[C](image)))))
    return nw.dot[W2](nw.dropout(nw.mean[Y2, X2](x), rate=0.2), out) + bias


@nw.loss
def digit(image: nw.f[B, Y, X], label: nw.i[B]):
    net = nw.use(Digits)
    logits = net(image)
    nw.metric("accuracy", nw.mean[B](nw.argmax[N](logits) == label))
    return nw.mean[B](nw.cross_entropy[N](logits, label))
