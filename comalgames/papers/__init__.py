"""Papers as experiments and claims: one file a paper, listed in `registry`."""
