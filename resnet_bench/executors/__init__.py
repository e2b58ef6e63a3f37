"""Where the runs of a study are done: this process, several of this machine, a Ray cluster."""
