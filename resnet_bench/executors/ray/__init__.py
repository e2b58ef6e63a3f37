"""A study on a Ray cluster: one task for each run. The ledger is the study's folder, which all nodes must see.

A task does what every process that sweeps a study does: it takes the run's lock, goes on from its checkpoint, and
publishes. Ray only decides where; what it forgets or does twice is no matter.
"""
