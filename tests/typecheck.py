"""The type checker that conftest.py installs: beartype, for which an int is a float, as PEP 484 has it."""

import beartype

check = beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))
