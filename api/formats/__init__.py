"""Files of weights in the formats of others: read, written, compared, packed.

    weights = open_weights("model.msgpack")
    weights.leaves          # what there is: path -> shape and dtype
    weights.read(path)      # one array

| format | read | written | |
|---|---|---|---|
| checkpoints and runs of ours | yes | | every byte is checked by its checksum |
| safetensors | yes | yes | |
| msgpack of Flax | yes | yes | |
| `.npz` of numpy | yes | yes | |
| folders of Orbax | yes | | extra `orbax` |
| pickle | if asked for | | arrays only, in a process of its own |
"""

from __future__ import annotations

from .common import FormatError, Leaf, Path, Weights, joined, shown
from .opening import open_weights

__all__ = ["FormatError", "Leaf", "Path", "Weights", "joined", "open_weights", "shown"]
