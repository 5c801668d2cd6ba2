"""Phase diagrams: measured outcomes and predicted rates of a rule over a grid of two of its parameters."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from comalgames import regularizers, validation
from comalgames.algorithms.base import with_dtype
from comalgames.diagnostics.diagnose import evidence_of, largest_payoff, last_quarters, watch
from comalgames.diagnostics.fixed_points import (
    FAINT,
    HELD,
    NO_WEIGHT,
    regularized_equilibria,
)
from comalgames.diagnostics.outcomes import OUTCOMES, outcome_codes
from comalgames.diagnostics.prediction import check_arguments
from comalgames.diagnostics.rates import fit_rate
from comalgames.diagnostics.stability import Maps, has_inner_steps, maps_of_many, radii
from comalgames.drivers.arguments import starting_policy
from comalgames.equilibria import nash
from comalgames.games.preference import PreferenceGame

# Numbers of recorded blocks: up to BEFORE in the first half of a run, whose lengths grow geometrically from
# one step so that fast and slow convergence are both resolved, and LAST in each of the last two quarters.
BEFORE, LAST = 160, 20


def phase_diagram(
    game: PreferenceGame,
    make_rule: Callable[..., Any],
    *,
    x: Mapping[str, Any],
    y: Mapping[str, Any],
    num_steps: int = 20_000,
    init: Any = None,
    reference: Any = None,
) -> Any:
    """Run a rule for every pair of values of two of its parameters, and predict its convergence for each.

    All runs are one compiled program, and so are all linearizations: rules are pytrees, and `make_rule` is
    mapped over the grid. A run is recorded by the extremes of 200 blocks of steps, which bounds the memory.

    Args:
        game: a preference game without prompts.
        make_rule: a function that makes the rule from the two parameters, given by keyword, such as
            `lambda step_size, period: cg.COMAL(cg.MirrorDescent(step_size, 0.1), period)`, or a class.
        x: the parameter along the horizontal axis and its values, such as `{"step_size": [0.3, 1.0, 3.0]}`.
        y: the parameter along the vertical axis and its values.
        num_steps: number of steps of each run.
        init: the first policy, positive probabilities `[n]`; uniform by default.
        reference: the first reference; `init` by default.

    Returns:
        An `xarray.Dataset` over the two parameters with, for each pair,

        - `outcome`: a code; `dataset["outcome"].attrs["flag_meanings"]` lists the names in order: Nash, other
          fixed point, cycle, boundary, undecided, as defined by `diagnostics.outcome_codes`;
        - `final_gap`: duality gap of the last policy, in units of payoff;
        - `rate`: measured asymptotic factor per step of the gap (or, for a rule that does not converge to
          Nash, of the total variation distance to its fixed point); nan if the convergence is not linear;
        - `radius`: predicted spectral radius of one round at the fixed point, where a round is one step, or
          the steps of `COMAL` between two moves of its reference. The fixed point is attracting if it is
          below 1. nan if the fixed point is not known from theory, and for a self-tuning `COMAL`. In a set of
          Nash policies it is that of the policy that `nash` returns; `diagnose` compares others;
        - `predicted_rate`: predicted factor per step, the radius to the power 1 / (steps per round).

    Raises:
        ValueError: an argument is not as described, or the rules differ in more than their numbers.

    Example:
        >>> diagram = cg.phase_diagram(
        ...     game, cg.MirrorDescent, x={"step_size": [1.0, 3.8, 4.2]}, y={"temperature": [0.1]},
        ...     init=[0.2, 0.5, 0.3],
        ... )
        >>> diagram["radius"].values.round(3)
        array([[0.923, 0.991, 1.033]])
    """
    axes = [_axis("x", x), _axis("y", y)]
    (x_name, x_values), (y_name, y_values) = axes
    if x_name == y_name:
        raise ValueError(f"`y` must be another number of the rule than `x`, got {y_name!r} for both.")
    _check_rules(game, make_rule, axes)
    num_steps = validation.count("num_steps", num_steps, minimum=4)
    flat_y, flat_x = (each.ravel() for each in np.meshgrid(y_values, x_values, indexing="ij"))
    with jax.enable_x64(True):
        game64 = with_dtype(game.without_names(), jnp.float64)
        start = starting_policy("init", init, game64)
        anchor = start if reference is None else starting_policy("reference", reference, game64)
        for name, policy in (("init", start), ("reference", anchor)):
            if policy.ndim > 1:
                raise ValueError(f"`{name}` must be one policy `[{game.num_actions}]`, got {policy.shape}.")

        def make(x_value: Array, y_value: Array) -> Any:
            return with_dtype(make_rule(**{x_name: x_value, y_name: y_value}), jnp.float64)

        rules = eqx.filter_vmap(make)(jnp.asarray(flat_x), jnp.asarray(flat_y))
        logp, held, support = _targets(game, rules, np.asarray(anchor), len(flat_x))
        radius, periods = _theory(game64, rules, logp, held, support, game)
        target = np.where(support, np.exp(logp), 0.0)
        edges = _edges(num_steps)
        used = jnp.asarray(nash(game).support)
        watched = _watch_all(
            game64, rules, start, anchor, jnp.asarray(target), used, *map(jnp.asarray, edges)
        )
        final_gap = np.asarray(jax.vmap(lambda last: game64.gap(game64.advantage(last)))(watched.logp))
        watched = jax.tree.map(np.asarray, watched)
        final_gap = np.where(np.isnan(watched.logp).any(-1), np.nan, final_gap)
    steps = np.concatenate([each[:-1] for each in edges])
    aims_at_nash = np.all(np.abs(held - logp) == 0, axis=-1) | (_pulls(rules, len(flat_x)) == 0)
    measured = np.where(aims_at_nash[:, None], watched.gap, watched.distance)
    fits = [fit_rate(steps, row) if np.all(np.isfinite(row)) else None for row in measured]
    rate = np.asarray([fit.rate if fit is not None and fit.kind == "linear" else np.nan for fit in fits])
    with np.errstate(invalid="ignore"):
        predicted = radius ** (1 / np.maximum(periods, 1))
    evidence = evidence_of(watched, edges, aims_at_nash, periods, predicted)
    columns = {
        "outcome": outcome_codes(evidence, largest_payoff(game)),
        "final_gap": final_gap,
        "rate": rate,
        "radius": radius,
        "predicted_rate": predicted,
    }
    return _dataset(columns, (y_name, y_values), (x_name, x_values), num_steps)


def _axis(argument: str, value: Any) -> tuple[str, np.ndarray]:
    """The name and the values of an axis."""
    if not isinstance(value, Mapping) or len(value) != 1:
        raise ValueError(
            f"`{argument}` must name one number of the rule and its values, such as "
            f'{{"step_size": [0.3, 1.0, 3.0]}}, got {value!r}.'
        )
    ((name, values),) = value.items()
    array = np.asarray(values)
    if array.ndim != 1 or array.size == 0 or array.dtype.kind not in "fiu" or not np.all(np.isfinite(array)):
        raise ValueError(f"`{argument}` must have a list of finite numbers for {name!r}, got {values!r}.")
    return str(name), array


def _check_rules(game: Any, make_rule: Any, axes: list[tuple[str, np.ndarray]]) -> None:
    """Check the rules of two edges of the grid, made from plain numbers, before the grid is traced."""
    if not callable(make_rule):
        raise ValueError(
            f"`make_rule` must be a function or class that makes a rule from two numbers, got {make_rule!r}."
        )
    parameters = inspect.signature(make_rule).parameters
    if not any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
        for argument, (name, _) in zip("xy", axes, strict=True):
            validation.known(argument, name, parameters)
    (x_name, x_values), (y_name, y_values) = axes
    pairs = [(x_values[0], value) for value in y_values] + [(value, y_values[0]) for value in x_values]
    rules = [make_rule(**{x_name: a.item(), y_name: b.item()}) for a, b in pairs]
    check_arguments(game, rules[0])
    first = jax.tree.map(lambda _: 0, with_dtype(rules[0], jnp.float64))
    for rule, pair in zip(rules, pairs, strict=True):
        if not eqx.tree_equal(jax.tree.map(lambda _: 0, with_dtype(rule, jnp.float64)), first):
            raise ValueError(
                f"`make_rule` must make rules that differ only in their numbers, got {rules[0]!r} and, at "
                f"{x_name} {pair[0]}, {y_name} {pair[1]}, {rule!r}."
            )


def _edges(num_steps: int) -> tuple[np.ndarray, ...]:
    first, second = last_quarters(num_steps)
    before = np.unique(np.geomspace(1, max(first, 1), min(BEFORE, max(first, 1))).round().astype(np.int32))
    quarters = [
        np.unique(np.linspace(start, end, min(LAST, end - start) + 1).round().astype(np.int32))
        for start, end in ((first, second), (second, num_steps))
    ]
    return np.append(np.int32(0), before[before <= first]), *quarters


# Fixed points and theory ------------------------------------------------------------------------------------


def _pulls(rules: Any, cells: int) -> np.ndarray:
    """Weight of the reference in each rule; 0 for rules that move it, because they converge to Nash."""
    moves = _some(rules).form(0).moves_reference
    pull = jnp.zeros(cells) if moves else eqx.filter_vmap(lambda rule: rule.form(0).pull)(rules)
    return np.broadcast_to(np.asarray(pull, float), (cells,))


def _targets(
    game: PreferenceGame, rules: Any, anchor: np.ndarray, cells: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fixed point, reference and support of each cell, `[cells, n]`; nan if theory gives no fixed point."""
    solution = nash(game)
    at_nash = np.where(solution.support, np.log(np.where(solution.support, solution.policy, 1.0)), FAINT)
    logp = np.tile(at_nash, (cells, 1))
    support = np.tile(np.asarray(solution.support), (cells, 1))
    held = logp.copy() if _some(rules).form(0).moves_reference else np.tile(anchor, (cells, 1))
    pulled = _pulls(rules, cells) > 0
    if pulled.any():
        logp[pulled], support[pulled] = _regularized(game, rules, anchor, pulled)
    return logp, held, support


def _regularized(
    game: PreferenceGame, rules: Any, anchor: np.ndarray, where: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    cells = int(where.sum())
    form = _some(rules).form(0)
    if form.temperature is None:
        return np.full((cells, len(anchor)), np.nan), np.ones((cells, len(anchor)), bool)
    temperatures = eqx.filter_vmap(lambda rule: rule.form(0).temperature)(rules)
    if form.kl_temperature is not None:
        logp, converged = regularized_equilibria(game, _each(temperatures, where), anchor)
        return np.where(converged[:, None], logp, np.nan), np.ones(logp.shape, bool)
    skew = jnp.asarray(np.asarray(game.skew, np.float64))
    equilibria, _ = regularizers.equilibrium(
        form.regularizer,
        skew,
        jnp.zeros(len(anchor)),
        jnp.asarray(_each(temperatures, where)),
        jnp.asarray(anchor),
    )
    policy = np.asarray(equilibria)
    support = policy > NO_WEIGHT
    policy = np.where(support, policy, 0.0) / np.where(support, policy, 0.0).sum(-1, keepdims=True)
    return np.where(support, np.log(np.where(support, policy, 1.0)), FAINT), support


def _each(values: Any, where: np.ndarray) -> np.ndarray:
    """The values of the selected cells, from an array over all cells or one number for all."""
    return np.asarray(np.broadcast_to(np.asarray(values, float), where.shape)[where])


def _theory(
    game64: Any, rules: Any, logp: np.ndarray, held: np.ndarray, support: np.ndarray, game: PreferenceGame
) -> tuple[np.ndarray, np.ndarray]:
    """Spectral radius of one round in each cell, nan without a fixed point; and the steps per round."""
    periods = _periods(rules, len(logp))
    if periods is None:
        return np.full(len(logp), np.nan), np.ones(len(logp))
    parts = maps_of_many(game64, rules, jnp.asarray(logp), jnp.asarray(held), jnp.asarray(periods))
    parts = jax.tree.map(np.asarray, parts)
    some_rule = _some(rules)
    dimension = int(nash(game).dimension)
    factors = np.full(len(logp), np.nan)
    for used in np.unique(support, axis=0):
        cells = np.flatnonzero((support == used).all(-1) & np.isfinite(logp).all(-1))
        at_nash = np.zeros(len(cells), bool) if dimension else np.ones(len(cells), bool)
        at_nash |= _pulls(rules, len(logp))[cells] == 0
        for group, free in ((cells[at_nash], dimension), (cells[~at_nash], 0)):
            if len(group):
                of_group = Maps(*(each[group] for each in parts))
                counts = periods[group] if has_inner_steps(some_rule) else None
                factors[group] = radii(of_group, used, free, counts)
    # A round must not move the fixed point, up to rounding errors, which it amplifies by at most the factor.
    shift = np.abs(np.where(support, parts.drift, 0.0)).max(-1)
    with np.errstate(over="ignore", invalid="ignore"):
        allowed = HELD * np.maximum(1.0, factors)
    return np.where(shift <= allowed, factors, np.nan), periods


def _periods(rules: Any, cells: int) -> np.ndarray | None:
    """Steps per round in each cell; None if rounds have no fixed length."""
    if _some(rules).form(0).period is None:
        return None
    periods = eqx.filter_vmap(lambda rule: jnp.asarray(rule.form(0).period, jnp.int32))(rules)
    return np.broadcast_to(np.asarray(periods).astype(int), (cells,))


def _some(rules: Any) -> Any:
    """The rule of the first cell."""
    return jax.tree.map(lambda leaf: leaf[0] if eqx.is_array(leaf) else leaf, rules)


# Runs -------------------------------------------------------------------------------------------------------


@eqx.filter_jit
def _watch_all(
    game: Any, rules: Any, logp: Array, reference: Array, targets: Array, support: Array, *parts: Array
) -> Any:
    along = (None, eqx.if_array(0), None, None, 0, None, *(None,) * len(parts))
    return eqx.filter_vmap(watch, in_axes=along)(game, rules, logp, reference, targets, support, *parts)


def _dataset(
    columns: Mapping[str, np.ndarray],
    y: tuple[str, np.ndarray],
    x: tuple[str, np.ndarray],
    num_steps: int,
) -> Any:
    import xarray as xr

    shape = (len(y[1]), len(x[1]))
    variables = {name: ((y[0], x[0]), values.reshape(shape)) for name, values in columns.items()}
    attrs = {"outcomes": list(OUTCOMES), "num_steps": num_steps, "x": x[0], "y": y[0]}
    dataset = xr.Dataset(variables, {y[0]: y[1], x[0]: x[1]}, attrs=attrs)
    dataset["outcome"].attrs = {"flag_values": list(range(len(OUTCOMES))), "flag_meanings": list(OUTCOMES)}
    return dataset
