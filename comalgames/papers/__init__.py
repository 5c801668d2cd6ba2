"""One file per paper: its experiments, its claims and its figures. `PAPERS` names those that can be
reproduced."""
