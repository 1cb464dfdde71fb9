"""Letters to sounds: an LSTM reads a word both ways, another writes phonemes and looks back."""

import netwright as nw

B, S, T = nw.dims("B S T")  # words, their letters, their phonemes: bound by the data
V, W = nw.dims(V=27, W=72)  # letter ids, phoneme ids; 0 is padding
E, H = nw.dims(E=64, H=128)  # embedding, hidden units


@nw.layer[S, E, H]
def LSTM(
    xs: nw.f[..., S, E], live: nw.b[..., S] = True, first: nw.f[..., H] = 0.0
) -> nw.f[..., S, H]:
    """A long short-term memory (Hochreiter and Schmidhuber 1997); where not live, it stays."""
    Gate, P = nw.dims(Gate=4, P=H)  # P: the hidden vector of the step before
    wx = nw.param("wx", [E, Gate, H], nw.glorot_uniform[E >> H]())
    wh = nw.param("wh", [P, Gate, H], nw.orthogonal[P >> H]())
    bias = nw.param("bias", [Gate, H], nw.where(nw.index[Gate]() == 1, 1.0, 0.0))

    def step(x, on, h, c):
        i, f, g, o = nw.unstack[Gate](x + nw.dot[P](nw.rename[H >> P](h), wh))
        c = nw.where(on, nw.sigmoid(f) * c + nw.sigmoid(i) * nw.tanh(g), c)
        h = nw.where(on, nw.sigmoid(o) * nw.tanh(c), h)
        return (h, c), h

    start = dict(h=first, c=nw.zeros[..., H]())
    _, ys = nw.scan[S](step, carry=start, x=nw.dot[E](xs, wx) + bias, on=live)
    return ys


@nw.model
def Speller(source: nw.i[B, S], source_live: nw.b[B, S], target_in: nw.i[B, T]) -> nw.f[B, T, W]:
    S2 = nw.dims(S2=2 * H)  # both directions, end to end
    letters = nw.param("letters", [V, E], nw.normal(0.1))
    phonemes = nw.param("phonemes", [W, E], nw.normal(0.1))
    summary = nw.param("summary", [S2, H], nw.glorot_uniform[S2 >> H]())
    match = nw.param("match", [S2, H], nw.glorot_uniform[S2 >> H]())
    out = nw.param("out", [H, W], nw.lecun_normal[H]())
    out_seen = nw.param("out_seen", [S2, W], nw.lecun_normal[S2]())
    forward = nw.use(LSTM)
    backward = nw.use(LSTM)
    decoder = nw.use(LSTM[S:T])
    x = nw.dropout(nw.take[V](letters, source), rate=0.1)
    there = forward(x, source_live)
    back = nw.flip[S](backward(nw.flip[S](x), nw.flip[S](source_live)))
    seen = nw.concat[H + H >> S2](there, back)
    first = nw.tanh(nw.dot[S2](nw.max[S](seen, where=source_live), summary))
    y = decoder(nw.dropout(nw.take[W](phonemes, target_in), rate=0.1), first=first)
    scores = nw.dot[H](y, nw.dot[S2](seen, match))
    focus = nw.softmax[S](scores, where=source_live)
    context = nw.dot[S](focus, seen)
    return nw.dot[H](y, out) + nw.dot[S2](context, out_seen)


@nw.loss
def sounds(
    source: nw.i[B, S],
    source_live: nw.b[B, S],
    target_in: nw.i[B, T],
    target_out: nw.i[B, T],
    target_live: nw.b[B, T],
):
    speller = nw.use(Speller)
    logits = speller(source, source_live, target_in)
    right = nw.argmax[W](logits) == target_out
    nw.metric("accuracy", nw.mean[B, T](right, where=target_live))
    nw.metric("words", nw.mean[B](nw.all[T](right, where=target_live)))
    return nw.mean[B, T](nw.cross_entropy[W](logits, target_out), where=target_live)
