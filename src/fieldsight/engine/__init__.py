"""Training: chance from labels, state and checkpoints, and the one loop, ``fit``. Importing this loads no torch."""
