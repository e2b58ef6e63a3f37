"""The train step, the loop, checkpoints."""
