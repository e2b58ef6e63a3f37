"""Training: `engine` is the one train step and the one evaluation, `loop` runs a configuration from step to step."""
