"""Preference games, their Nash policies, and the self-play rules that learn them, in JAX.

import comalgames as cg

game = cg.games.comal_cycle()
result = cg.solve(game, cg.COMAL(cg.MirrorDescent(step_size=1.0, temperature=0.1)), 2_000)
"""

import lazy_loader

__version__ = "0.1.0"

# Names are loaded when they are first used. The stub `__init__.pyi` lists them, for type checkers too.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
