"""The memory plan: the graph that planners see, and what a training step needs at its peak."""
