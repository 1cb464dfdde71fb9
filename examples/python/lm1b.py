"""The language model of Flax's lm1b example: a pre-norm decoder over packed sentences."""

import netwright as nw

attention, core, norm = map(nw.library, ("attention", "core", "norm"))

B, S, T = nw.dims("B S T")  # batch and sequence: bound by the data; T: positions looked at
V = nw.dims(V=30_000)  # vocabulary; 0 is padding
L, D, G = nw.dims(L=6, D=512, G=8)  # blocks, residual width, heads
K = nw.dims(K=D // G)  # head size
F = nw.dims(F=2048)  # feed-forward width
Half = nw.dims(Half=D // 2)

drop = nw.const(drop=0.1)
glorot, small = nw.glorot_uniform, nw.normal(1e-6)


@nw.layer[S, T, D]
def Block(x: nw.f[..., S, D], where: nw.b[..., S, T]) -> nw.f[..., S, D]:
    attn_norm = nw.use(norm.LayerNorm)
    attn = nw.use(attention.Attention[T:T], biased=False, causal=True, rate=drop, init=glorot)
    mlp_norm = nw.use(norm.LayerNorm)
    mlp = nw.use(core.MLP, act=nw.relu, rate=drop, init=glorot, bias_init=small)
    y = attn_norm(x)
    x = x + nw.dropout(attn(y, nw.rename[S >> T](y), where=where), rate=drop)
    return x + nw.dropout(mlp(mlp_norm(x)), rate=drop)


@nw.model
def TransformerLM(
    tokens: nw.i[B, S],
    positions: nw.i[B, S],  # of tokens in their sentences
    sentences: nw.i[B, S],  # which sentence of its row a token is in
) -> nw.f[B, S, V]:
    T = nw.dims(T=S)
    embed = nw.use(core.Embed, init=nw.normal(1.0))
    blocks = nw.repeat[L](Block)
    last_norm = nw.use(norm.LayerNorm)
    logits = nw.use(core.Linear[D >> V], init=glorot, bias_init=small)
    before = nw.shift[S](tokens) * (sentences == nw.shift[S](sentences))
    angle = nw.expand[Half](positions) * 10000.0 ** (-nw.index[Half]() / (Half - 1))
    x = embed(before) + nw.concat[Half + Half >> D](nw.sin(angle), nw.cos(angle))
    seen = (nw.expand[S](nw.rename[S >> T](sentences)) == sentences) & (
        nw.rename[S >> T](tokens) > 0
    )
    x = blocks(nw.dropout(x, rate=drop), where=seen)
    return logits(last_norm(x))


@nw.loss
def next_token(tokens: nw.i[B, S], positions: nw.i[B, S], sentences: nw.i[B, S]):
    lm = nw.use(TransformerLM)
    logits = lm(tokens, positions, sentences)
    return nw.mean[B, S](nw.cross_entropy[V](logits, tokens), where=tokens > 0)
