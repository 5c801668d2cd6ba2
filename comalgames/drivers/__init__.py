"""Run algorithms on games: check arguments, step in compiled chunks, record."""
