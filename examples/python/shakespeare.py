"""A small Llama: grouped-query attention, rotary positions, SwiGLU."""

import netwright as nw

B, S, T = nw.dims("B S T")  # batch and sequence: bound by the data; T: positions looked at
V = nw.dims(V=256)  # vocabulary (bytes)
L = nw.dims(L=4)  # blocks
D = nw.dims(D=128)  # residual width
F = nw.dims(F=384)  # feed-forward width
G, R, K = nw.dims(G=2, R=2, K=32)  # key/value heads, query heads for each, head size

drop = nw.const(drop=0.1)


@nw.layer[D]
def RMSNorm(x: nw.f[..., D], eps=1e-6) -> nw.f[..., D]:
    scale = nw.param("scale", [D], nw.ones())
    return x * nw.rsqrt(nw.mean[D](x**2) + eps) * scale


@nw.layer[S, D, G, R, K]
def Attention(x: nw.f[..., S, D]) -> nw.f[..., S, D]:
    """Grouped-query attention: k and v simply lack R."""
    wq = nw.param("wq", [D, G, R, K], nw.normal(0.02))
    wk = nw.param("wk", [D, G, K], nw.normal(0.02))
    wv = nw.param("wv", [D, G, K], nw.normal(0.02))
    wo = nw.param("wo", [G, R, K, D], nw.normal(0.02 / nw.sqrt(2 * L)))
    q = nw.rotary[S, K](nw.dot[D](x, wq))
    k = nw.rename[S >> T](nw.rotary[S, K](nw.dot[D](x, wk)))
    v = nw.rename[S >> T](nw.dot[D](x, wv))
    scores = nw.dot[K](q, k) / nw.sqrt(K)
    weights = nw.softmax[T](scores, where=nw.offset[S, T]() >= 0)
    return nw.dot[G, R, K](nw.dot[T](weights, v), wo)


@nw.layer[D, F]
def SwiGLU(x: nw.f[..., D]) -> nw.f[..., D]:
    gate = nw.param("gate", [D, F], nw.normal(0.02))
    up = nw.param("up", [D, F], nw.normal(0.02))
    down = nw.param("down", [F, D], nw.normal(0.02 / nw.sqrt(2 * L)))
    return nw.dot[F](nw.silu(nw.dot[D](x, gate)) * nw.dot[D](x, up), down)


@nw.layer[S, D]
def Block(x: nw.f[..., S, D]) -> nw.f[..., S, D]:
    norm1 = nw.use(RMSNorm)
    attn = nw.use(Attention)
    norm2 = nw.use(RMSNorm)
    mlp = nw.use(SwiGLU)
    x = x + nw.dropout(attn(norm1(x)), rate=drop)
    return x + nw.dropout(mlp(norm2(x)), rate=drop)


@nw.model
def GPT(tokens: nw.i[B, S]) -> nw.f[B, S, V]:
    embed = nw.param("embed", [V, D], nw.normal(0.02))
    blocks = nw.repeat[L](Block)
    norm = nw.use(RMSNorm)
    x = blocks(nw.take[V](embed, tokens))
    return nw.dot[D](norm(x), embed)  # tied: the same parameter


@nw.loss
def next_token(tokens: nw.i[B, S], targets: nw.i[B, S]):
    gpt = nw.use(GPT)
    logits = gpt(tokens)
    nw.metric("accuracy", nw.mean[B, S](nw.argmax[V](logits) == targets))
    return nw.mean[B, S](nw.cross_entropy[V](logits, targets))
