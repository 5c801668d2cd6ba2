"""Papers as experiments and claims: one file per paper, listed in `registry`."""
