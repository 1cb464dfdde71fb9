"""GPT-2: a decoder with learned positions, pre-norm blocks and tied embeddings.

Radford, Wu, Child, Luan, Amodei, Sutskever: Language Models are Unsupervised Multitask Learners,
2019. The sizes are those of the smallest of the four published models.
"""

import netwright as nw

attention, core, norm, transformer = map(nw.library, ("attention", "core", "norm", "transformer"))

B, S = nw.dims("B S")  # batch and sequence: bound by the data
V, Ctx = nw.dims(V=50257, Ctx=1024)  # vocabulary, positions
L, D, G = nw.dims(L=12, D=768, G=12)  # blocks, residual width, heads
K = nw.dims(K=D // G)  # size of a head
F = nw.dims(F=4 * D)  # feed-forward width

drop = nw.const(drop=0.1)
weights = nw.normal(0.02)
residual = nw.normal(0.02 / nw.sqrt(2 * L))  # of what is added to the residual


@nw.model
def GPT2(tokens: nw.i[B, S]) -> nw.f[B, S, V]:
    positions = nw.param("positions", [Ctx, D], weights)
    embed = nw.use(core.Embed, init=weights)
    block = transformer.Block(
        attention.Attention(causal=True, rate=drop, init=weights, out_init=residual),
        core.MLP(init=weights, out_init=residual),
        norm=norm.LayerNorm(eps=1e-5),
        rate=drop,
    )
    body = nw.use(transformer.Encoder, block, norm=norm.LayerNorm(eps=1e-5))
    x = embed(tokens) + nw.slice[Ctx >> S](positions)
    return nw.dot[D](body(nw.dropout(x, rate=drop)), embed.table)


@nw.loss
def next_token(tokens: nw.i[B, S], targets: nw.i[B, S]):
    gpt = nw.use(GPT2)
    logits = gpt(tokens)
    nw.metric("accuracy", nw.mean[B, S](nw.argmax[V](logits) == targets))
    return nw.mean[B, S](nw.cross_entropy[V](logits, targets))
