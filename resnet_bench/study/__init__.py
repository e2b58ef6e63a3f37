"""Studies: `plan` says what is to be done, `run` does one, `sweep` all, `folder` knows what is where and collects."""
