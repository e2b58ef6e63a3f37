"""Networks and files of weights."""
