"""Run many algorithms on many games with many seeds; runs that differ only in numbers share a compilation."""

from __future__ import annotations

import inspect
import itertools
import warnings
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, PRNGKeyArray

from comalgames import validation
from comalgames.algorithms.base import AbstractAlgorithm, with_dtype
from comalgames.drivers.arguments import check_pair, check_queries, starting_policy
from comalgames.drivers.bar import progress_bar
from comalgames.drivers.dataset import dataset
from comalgames.drivers.grouping import all_metrics, check_same_functions, groups, kind, stack, structure
from comalgames.drivers.host import Compiled, host_loop, statuses
from comalgames.drivers.trajectory import Carry, Records, Run, first_nonfinite, prepare, record_steps
from comalgames.feedback import AbstractFeedback
from comalgames.games.base import AbstractGame
from comalgames.measures.metrics import CURVES, Metric

# Maximum length of a label in an error message, in characters.
LONGEST = 200


def grid(constructor: Callable[..., Any], **values: Any) -> dict[str, Any]:
    """Algorithms for all combinations of the given values, by name, for `sweep`.

    Args:
        constructor: makes an algorithm from keyword arguments, such as `cg.MWU`.
        **values: keyword arguments of `constructor`; a list, tuple or array is a list of values to try,
            anything else is one value.

    Raises:
        ValueError: `constructor` has no argument of that name, or two combinations have the same label.

    Example:
        >>> list(cg.grid(cg.MirrorDescent, step_size=[0.3, 1.0], temperature=0.1))
        ['MirrorDescent(step_size=0.3, temperature=0.1)', 'MirrorDescent(step_size=1.0, temperature=0.1)']
    """
    for name in values:
        validation.known("values", name, inspect.signature(constructor).parameters)
    lists = [
        # A named tuple, such as an optax optimizer, is one value.
        list(v) if isinstance(v, (list, np.ndarray, jax.Array)) or type(v) is tuple else [v]
        for v in values.values()
    ]
    algorithms = {}
    for combination in itertools.product(*lists):
        arguments = {
            name: v.item() if isinstance(v, np.generic) else v
            for name, v in zip(values, combination, strict=True)
        }
        text = ", ".join(f"{name}={value}" for name, value in arguments.items())
        label = f"{getattr(constructor, '__name__', 'rule')}({text})"
        if label in algorithms:
            raise ValueError(
                f"`values` must have different labels, but two combinations are {_short(label)!r}. Leave out "
                f"what occurs twice, or name the algorithms in a dict of your own."
            )
        algorithms[label] = constructor(**arguments)
    return algorithms


def sweep(
    games: Mapping[str, AbstractGame] | Sequence[AbstractGame] | AbstractGame,
    algorithms: Mapping[str, AbstractAlgorithm[Any]] | Sequence[AbstractAlgorithm[Any]],
    num_steps: int | None = None,
    *,
    num_queries: int | None = None,
    num_seeds: int = 1,
    key: PRNGKeyArray | None = None,
    init: Any = None,
    reference: Any = None,
    feedback: Callable[[AbstractGame], AbstractFeedback] | AbstractFeedback | None = None,
    metrics: Mapping[str, Metric] | Sequence[str | Metric] | None = None,
    game_metrics: Callable[[AbstractGame], Mapping[str, Metric]] | None = None,
    record_every: int = 1,
    progress: bool | None = None,
) -> Any:
    """Run every algorithm on every game with every seed.

    Algorithms of one structure (the same classes; other numbers) and games of one shape share one compilation
    and run side by side. A run's key depends on the game's name and the seed alone, so algorithms meet the
    same noise, and adding one changes nothing for the others.

    Args:
        games: by name; a list is named by position.
        algorithms: by name (see `grid`); a list is named by `repr`.
        num_steps: steps of every run; or
        num_queries: queries of every run (a rule that spends two a step takes half as many steps). Give one
            of the two.
        num_seeds: how many runs of each pair. They differ in the key of `feedback`, and in `init` if that is
            random.
        key: root of all keys; `jax.random.key(0)` by default.
        init: the first policy: probabilities `[n]`, a dict of them by game, a function `(key, game) ->
            probabilities`, or None for uniform.
        reference: the first reference: probabilities `[n]`, a dict of them by game, or None for `init`.
        feedback: makes each game's feedback, such as `lambda game: cg.Sampled(game, 100)` (or the feedback
            itself, if there is one game); exact by default.
        metrics: what to record besides the curves of the gap, as in `solve`.
        game_metrics: makes metrics with data of the game, such as
            `lambda game: {"kl": cg.kl_to(cg.nash(game).logp)}`. Games of one shape run together, so the data
            must be in fields of an `eqx.Module`, not in a function made for each game.
        record_every: number of steps between two records.
        progress: whether to show a progress bar. By default one appears in a terminal or notebook if it
            takes longer than about two seconds.

    Returns:
        An `xarray.Dataset` over (game, algorithm, seed, record): the three curves of the gap and the other
        metrics, coordinates `steps` and `queries` (game, algorithm, record), and of each run
        `final_duality_gap`, `final_average_duality_gap`, `final_best_duality_gap`, `final_policy` and
        `status`. Runs with fewer records (with `num_queries`, those of rules that spend more a step), and
        games with fewer actions, are padded with nan: for the last of a run take `final_...`. So are metrics
        that only some games have.

    Raises:
        ValueError: as `solve`; or not exactly one of `num_steps` and `num_queries` is given, the games differ
            in their leading axes, `init` or `reference` names a game that is not there, two algorithms of a
            list have the same `repr`, a metric takes a name that is taken, or `game_metrics` makes another
            function for each game.
    """
    if (num_steps is None) == (num_queries is None):
        raise ValueError("give exactly one of `num_steps` and `num_queries`.")
    name = "num_steps" if num_queries is None else "num_queries"
    budget = validation.count(name, num_steps if num_queries is None else num_queries)
    num_seeds = validation.count("num_seeds", num_seeds, minimum=1)
    record_every = validation.count("record_every", record_every, minimum=1)
    games = _named("games", games, lambda k, game: f"game {k}")
    algorithms = _named("algorithms", algorithms, lambda k, rule: repr(rule))
    for game, algorithm in itertools.product(games.values(), algorithms.values()):
        check_pair(game, algorithm)
    if len({len(game.policy_shape) for game in games.values()}) > 1:
        shapes = ", ".join(f"{label}: {game.policy_shape}" for label, game in games.items())
        raise ValueError(
            f"`games` must have the same number of leading axes (prompts, players), got policies of shape "
            f"{shapes}; sweep over each kind by itself."
        )
    for argument, policies in (("init", init), ("reference", reference)):
        for label in policies if isinstance(policies, Mapping) else ():
            validation.known(argument, label, games)

    if isinstance(feedback, AbstractFeedback) and len(games) > 1:
        raise ValueError(
            "`feedback` must make each game's feedback, such as `lambda game: Sampled(game, 16)`: one object "
            "cannot serve several games."
        )
    if key is not None:
        validation.random_key("key", key)
    root = jax.random.key(0) if key is None else key
    setups, costs = {}, {}
    for label, game in games.items():
        keys = jax.vmap(partial(jax.random.fold_in, _fold_name(root, label)))(jnp.arange(num_seeds))
        logp = _starts(init, label, game, keys)
        source = feedback(game) if callable(feedback) else feedback
        # A number that is no array would be part of what is compiled, in a placeholder as well.
        placeholder = with_dtype(next(iter(algorithms.values())), game.dtype)
        run = prepare(game, placeholder, source, root, metrics, record_every)
        of_game = {} if game_metrics is None else game_metrics(game)
        run = replace(run, metrics=all_metrics(run.metrics, of_game))
        setups[label] = Setup(run, keys, logp, _references(reference, label, game, logp))
        for name, algorithm in algorithms.items():
            costs[label, name] = check_queries(game, algorithm, logp.shape[1:]).cost
            _num_steps(algorithm, costs[label, name], num_steps, budget)

    together = []
    for game_names in groups(setups, lambda setup: (jax.tree.structure(setup.run), structure(setup))):
        check_same_functions([setups[label].run.metrics for label in game_names])
        leaves = {label: with_dtype(rule, games[game_names[0]].dtype) for label, rule in algorithms.items()}
        for rule_names in groups(leaves, kind):
            cost = costs[game_names[0], rule_names[0]]
            steps = _num_steps(algorithms[rule_names[0]], cost, num_steps, budget)
            rules = stack([leaves[label] for label in rule_names])
            together.append((game_names, rule_names, rules, cost, steps))

    runs: dict[tuple[str, str], dict[str, np.ndarray]] = {}
    with progress_bar(sum(group[-1] for group in together), "sweep", progress) as bar:
        for game_names, rule_names, rules, cost, steps in together:
            setup, some_game = stack([setups[label] for label in game_names]), games[game_names[0]]
            history, carry = _run_together(rules, len(rule_names), setup, steps, bar.update)
            recorded = record_steps(steps, record_every)
            last_logp = np.asarray(carry.state.logp)
            failed_at = first_nonfinite(some_game, history, last_logp, recorded, 3, np)
            status = statuses(failed_at, None, True)
            for (r, rule_name), (g, game_name) in itertools.product(
                enumerate(rule_names), enumerate(game_names)
            ):
                runs[game_name, rule_name] = {
                    **{metric: rows[r, g] for metric, rows in history.items()},
                    **{f"final_{curve}": history[curve][r, g, :, -1] for curve in CURVES if curve in history},
                    "final_policy": np.exp(last_logp[r, g]),
                    "status": status[r, g],
                    "steps": recorded,
                    "queries": recorded * cost,
                }
    taken = {label: steps for _, labels, _, _, steps in together for label in labels}
    notes = tuple(
        f"{label}: {note}" for label, rule in algorithms.items() for note in rule.notes(taken[label])
    )
    drawing = [setup.run.feedback for setup in setups.values() if setup.run.feedback is not None]
    is_random = callable(init) or any(source.is_random for source in drawing)
    if num_seeds > 1 and not is_random and not any(rule.form(0).is_random for rule in algorithms.values()):
        notes += (
            f"the {num_seeds} seeds are copies of one another, because nothing is random here: give a random "
            f"`feedback` such as `lambda game: cg.Sampled(game, 100)`, or a function as `init`.",
        )
    for note in notes:
        warnings.warn(note, stacklevel=2)
    return dataset(runs, list(games), list(algorithms), num_seeds, notes)


class Setup(eqx.Module):
    """All runs on one game.

    Attributes:
        run: what they share. Its algorithm and key are placeholders.
        keys: one per seed, `[seeds]`.
        logp: first policies, `[seeds, ..., n]`.
        reference: first references, `[seeds, ..., n]`.
    """

    run: Any
    keys: Any
    logp: Any
    reference: Any


PER_SEED = Setup(run=None, keys=0, logp=0, reference=0)


def _run_together(
    rules: Any, num_rules: int, setup: Setup, num_steps: int, tick: Callable[[int], Any]
) -> tuple[dict[str, np.ndarray], Carry]:
    """Run `rules` on all games of `setup`; axes of what is returned are rule, game, seed, then records."""
    progress = _begin(rules, num_rules, setup)
    record = eqx.filter_eval_shape(_everywhere, _observe, rules, num_rules, setup, progress)
    compiled = Compiled(partial(_chunk, rules, num_rules, setup), record, record_axis=3)
    progress, history, taken, _ = host_loop(compiled, progress, num_steps, setup.run.record_every, tick=tick)
    if taken < num_steps:
        raise KeyboardInterrupt
    return history, progress


def _everywhere(function: Callable[..., Any], rules: Any, num_rules: int, setup: Setup, *carried: Any) -> Any:
    """`function(run, setup, *carried)` for all rules, games and seeds; `carried` has those three axes."""

    def one(rule: Any, setup: Setup, *carried: Any) -> Any:
        return function(replace(setup.run, algorithm=rule, key=setup.keys), setup, *carried)

    along = (eqx.if_array(0),) * len(carried)
    seeds = eqx.filter_vmap(one, in_axes=(None, PER_SEED, *along))
    games = eqx.filter_vmap(seeds, in_axes=(None, eqx.if_array(0), *along))
    everywhere = eqx.filter_vmap(games, in_axes=(eqx.if_array(0), None, *along), axis_size=num_rules)
    return everywhere(rules, setup, *carried)


@eqx.filter_jit
def _begin(rules: Any, num_rules: int, setup: Setup) -> Carry:
    def begin(run: Run, setup: Setup) -> Carry:
        return run.begin(setup.logp, setup.reference)

    progress: Carry = _everywhere(begin, rules, num_rules, setup)
    return progress


@eqx.filter_jit
def _chunk(
    rules: Any, num_rules: int, setup: Setup, progress: Carry, start: Any, num_steps: Any, capacity: int
) -> tuple[Carry, Records]:
    def chunk(run: Run, _: Setup, progress: Carry) -> tuple[Carry, Records]:
        return run.chunk(progress, start, num_steps, capacity)

    result: tuple[Carry, Records] = _everywhere(chunk, rules, num_rules, setup, progress)
    return result


def _observe(run: Run, _: Setup, progress: Carry) -> Records:
    return run.observe(progress)


def _num_steps(algorithm: AbstractAlgorithm[Any], queries: int, num_steps: Any, budget: int) -> int:
    """Number of steps that a budget pays for: of steps if `num_steps` was given, else of queries."""
    if num_steps is None and queries == 0:
        raise ValueError(
            f"`num_queries` has no meaning for {algorithm!r}, which makes no queries; give `num_steps`."
        )
    return budget if num_steps is not None else budget // queries


def _named(argument: str, things: Any, name: Callable[[int, Any], str]) -> dict[str, Any]:
    if isinstance(things, (AbstractGame, AbstractAlgorithm)):
        things = [things]
    named = dict(things) if isinstance(things, Mapping) else {}
    for k, thing in enumerate(() if isinstance(things, Mapping) else things):
        label = name(k, thing)
        if label in named:
            raise ValueError(
                f"`{argument}` has two entries that are both shown as {_short(label)!r}; pass a dict to name "
                f"them yourself."
            )
        named[label] = thing
    if not named:
        raise ValueError(f"`{argument}` is empty.")
    return named


def _short(label: str) -> str:
    """The label, cut where it would fill a message."""
    return label if len(label) <= LONGEST else f"{label[:LONGEST]}..."


def _fold_name(key: PRNGKeyArray, name: str) -> PRNGKeyArray:
    return jax.random.fold_in(key, zlib.crc32(name.encode()))


def _starts(init: Any, label: str, game: AbstractGame, keys: Key[Array, " seeds"]) -> Array:
    """First policies of every seed, log-probabilities `[seeds, ..., n]`."""
    if callable(init):
        drawn = [starting_policy("init", init(_fold_name(key, "init"), game), game) for key in keys]
        return jnp.stack(drawn)
    policy = init.get(label) if isinstance(init, Mapping) else init
    logp = starting_policy("init", policy, game)
    return jnp.broadcast_to(logp, (len(keys), *logp.shape))


def _references(reference: Any, label: str, game: AbstractGame, start: Array) -> Array:
    policy = reference.get(label) if isinstance(reference, Mapping) else reference
    return (
        start if policy is None else jnp.broadcast_to(starting_policy("reference", policy, game), start.shape)
    )
