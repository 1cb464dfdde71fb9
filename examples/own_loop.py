"""A training loop of one's own around a compiled model: the step is a function like any other.

python examples/own_loop.py
"""

from pathlib import Path

import netwright as nw
import numpy as np

EXAMPLES = Path(__file__).resolve().parent


def main(steps: int = 300) -> float:
    """Train the MLP, evaluating now and then; gives the held-out accuracy."""
    program = nw.load(EXAMPLES / "mlp").compile()
    state = program.init(0)
    accuracy = 0.0
    for step in range(1, steps + 1):
        batch = program.put_batch(program.data.batch(step - 1))
        state, metrics = program.step(state, batch)
        if step % 100 == 0:
            total, count = 0.0, 0.0
            for held_out in program.data.held_out():
                right, number = program.evaluate(state, held_out)["accuracy"]
                total, count = total + float(right), count + float(number)
            accuracy = total / count
            loss, examples = metrics["loss"]
            print(f"step {step}: loss {float(loss / examples):.4f}, held out {accuracy:.4f}")
    images = next(iter(program.data.held_out()))["image"][:4]
    print("the first four:", np.argmax(program.predict(state, {"image": images}), axis=-1))
    return accuracy


if __name__ == "__main__":
    main()
