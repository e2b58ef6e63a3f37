"""Studies: `plan` says what is to be done, `run` does one run, `sweep` all of them, `collect` gathers the CSV files."""
