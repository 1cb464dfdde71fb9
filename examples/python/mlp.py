"""Two layers that tell handwritten digits apart."""

import netwright as nw

B = nw.dims("B")  # images: bound by the data
Y, X = nw.dims(Y=8, X=8)  # rows and columns
H, N = nw.dims(H=128, N=10)  # hidden units, digits


@nw.model
def MLP(image: nw.f[B, Y, X]) -> nw.f[B, N]:
    w1 = nw.param("w1", [Y, X, H], nw.he_normal[Y * X]())
    b1 = nw.param("b1", [H], nw.zeros())
    w2 = nw.param("w2", [H, N], nw.lecun_normal[H]())
    b2 = nw.param("b2", [N], nw.zeros())
    return nw.dot[H](nw.relu(nw.dot[Y, X](image, w1) + b1), w2) + b2


@nw.loss
def digit(image: nw.f[B, Y, X], label: nw.i[B]):
    mlp = nw.use(MLP)
    logits = mlp(image)
    nw.metric("accuracy", nw.mean[B](nw.argmax[N](logits) == label))
    return nw.mean[B](nw.cross_entropy[N](logits, label))
