"""The planner of what the gradient keeps: a frontier for each block, and a choice across them."""
