"""One file per paper: its experiments, its claims and its figures."""
