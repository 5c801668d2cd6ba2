"""Run one algorithm on one game and return a `Result`."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from comalgames import validation
from comalgames.algorithms.base import AbstractAlgorithm, with_dtype
from comalgames.drivers.arguments import (
    check_pair,
    check_queries,
    continued,
    starting_policy,
    with_reference,
)
from comalgames.drivers.bar import progress_bar
from comalgames.drivers.host import Compiled, host_loop, statuses
from comalgames.drivers.trajectory import Carry, Records, Run, first_nonfinite, prepare, record_steps
from comalgames.feedback import AbstractFeedback
from comalgames.games.base import AbstractGame
from comalgames.games.preference import PreferenceGame
from comalgames.games.zero_sum import ZeroSumGame
from comalgames.measures.metrics import Metric

# Below float64 a gap this many times the dtype's epsilon times the largest payoff may be rounding: 1e-6 in
# float32 for preferences. Rounding of the payoffs and of the policy changes a gap by up to 0.7 of this unit
# (measured for 3 to 1000 actions and payoffs of 1e-6 to 1e6), and a rule's steps add theirs.
RESOLVED = 16.0


class Result(NamedTuple):
    """The result of `solve`. Arrays are NumPy arrays; members are the leading axes of the game or the policy.

    Attributes:
        policy: the last policy as probabilities, `[..., n]`.
        logp: the last policy as log-probabilities, `[..., n]`.
        state: the algorithm's last state, to inspect, or to go on from by `solve(..., state=result.state)`.
        steps: the step number of each record, `[num_records]`; the first is 0 (the number of steps behind
            `state`, if the run went on from one), the last the number of steps taken.
        queries: the number of queries spent before each record, `[num_records]`.
        history: recorded values by name, each `[num_records, ...]`: `duality_gap` (of the current policy),
            `average_duality_gap` (of the uniform average of all policies so far, the first included),
            `best_duality_gap` (smallest so far over the records), and the metrics asked for.
        status: per member "converged" (the gap stayed below `tolerance` over the last tenth of the steps, and
            over the last ten policies), "completed" (all steps were taken), "nonfinite" or "interrupted".
        first_nonfinite: per member, the step of the first record whose policy was not finite; -1 if none was.
        notes: warnings that apply to this run.
        dtype: the floating-point type everything was computed in.
    """

    policy: np.ndarray
    logp: np.ndarray
    state: Any
    steps: np.ndarray
    queries: np.ndarray
    history: dict[str, np.ndarray]
    status: Any
    first_nonfinite: Any
    notes: tuple[str, ...]
    dtype: np.dtype[Any]

    @property
    def duality_gap(self) -> Any:
        """The duality gap of the last policy, per member: `history["duality_gap"][-1]`."""
        return self.history["duality_gap"][-1]

    def __repr__(self) -> str:
        shown: dict[str, Any] = {name: rows[-1] for name, rows in self.history.items() if rows[-1].ndim == 0}
        if "duality_gap" in self.history and not shown:
            shown["duality_gap, median of members"] = np.median(self.duality_gap)
            shown["duality_gap, largest"] = np.max(self.duality_gap)
        shown |= {"policy": self.policy} if self.policy.size <= 12 else {"policy of shape": self.policy.shape}
        lines = [
            f"{name}: {value:.6g}" if np.ndim(value) == 0 else f"{name}: {value}"
            for name, value in shown.items()
        ]
        words, counts = np.unique(self.status, return_counts=True)
        status = ", ".join(
            f"{n} {word}" if n > 1 else str(word) for n, word in zip(counts, words, strict=True)
        )
        head = f"Result: {status} after {self.steps[-1]} steps, {self.queries[-1]} queries, in {self.dtype}"
        return "\n  ".join([head, *lines])

    def to_xarray(self) -> Any:
        """The history as an `xarray.Dataset` over `record`, with coordinates `steps` and `queries`."""
        import xarray as xr

        data = {
            name: (("record", *(f"{name}_axis_{k}" for k in range(rows.ndim - 1))), rows)
            for name, rows in self.history.items()
        }
        coords = {"steps": ("record", self.steps), "queries": ("record", self.queries)}
        return xr.Dataset(data, coords, attrs={"dtype": str(self.dtype), "notes": list(self.notes)})


def solve(
    game: AbstractGame,
    algorithm: AbstractAlgorithm[Any],
    num_steps: int,
    *,
    init: Any = None,
    reference: Any = None,
    state: Any = None,
    feedback: AbstractFeedback | None = None,
    key: PRNGKeyArray | None = None,
    metrics: Mapping[str, Metric] | Sequence[str | Metric] | None = None,
    record_every: int = 1,
    tolerance: float | None = None,
    throw: bool = True,
    progress: bool | None = None,
    chunk_steps: int | None = None,
) -> Result:
    """Run `algorithm` on `game`, and record the duality gap and the given metrics during the run.

    Compiles once per structure of the arguments: other numbers of steps, step sizes, starts and payoffs of
    the same shape run at once. Ctrl-C ends the run after the current chunk, which takes about a quarter of a
    second, and returns what there is; a second Ctrl-C does not wait for the chunk.

    Args:
        game: a `PreferenceGame` or `ZeroSumGame`.
        algorithm: a learning rule, such as `MWU(0.1)` or `COMAL(MirrorDescent(1.0, 0.1))`.
        num_steps: how many steps, >= 0; with `state`, how many more.
        init: the first policy, positive probabilities `[..., n]` (`[..., 2, n]` for two players); uniform by
            default. Leading axes beyond the game's prompts are a batch of policies on the shared game.
        reference: the first reference, likewise; `init` by default. Rules without a reference ignore it.
        state: the `state` of an earlier `Result`, from which the run goes on, in place of `init` and
            `reference`: 30 steps and then 40 are 70 steps to the bit, with random feedback too if `key` is
            the same. Steps and queries are counted on; averages and bests are those of this run alone.
        feedback: where the rule's information comes from; `Exact(game)` by default.
        key: random key, needed when `feedback` is random.
        metrics: what to record besides the curves of the gap: names ("policy", "logp", "entropy",
            "worst_win_rate"), functions `(game, logp) -> number per prompt`, or a dict of functions by name.
            An empty list records nothing at all.
        record_every: number of steps between two records; the first and the last policy are always recorded.
        tolerance: stop early once the gap of every member has stayed below this over the last tenth of the
            steps (it is looked at when the number of steps is a power of two >= 1024), and call such members
            "converged". The gaps of all policies count, also of those that are not recorded; at least the
            last ten do.
        throw: raise when a policy stops being finite; otherwise say so in `status`.
        progress: whether to show a progress bar. By default one appears in a terminal or notebook if the run
            takes longer than about two seconds.
        chunk_steps: length of the compiled chunks; chosen by the clock by default. It changes no bit of the
            result.

    Returns:
        A `Result`.

    Raises:
        ValueError: an argument is out of range or does not fit the game (before anything compiles).
        FloatingPointError: a policy became nan or infinite and `throw` is true.

    Example:
        >>> game = cg.games.comal_cycle()
        >>> rule = cg.COMAL(cg.MirrorDescent(step_size=1.0, temperature=0.1))
        >>> cg.solve(game, rule, 2000, init=[0.2, 0.5, 0.3]).policy
        array([0.36363636, 0.27272727, 0.36363636])
    """
    num_steps = validation.count("num_steps", num_steps)
    record_every = validation.count("record_every", record_every, minimum=1)
    if tolerance is not None:
        validation.positive("tolerance", tolerance)
    if chunk_steps is not None:
        chunk_steps = validation.count("chunk_steps", chunk_steps, minimum=1)
    check_pair(game, algorithm)
    rule = with_dtype(algorithm, game.dtype)
    before = 0
    if state is not None:
        state, before = continued(state, game, rule, num_steps, init=init, reference=reference)
        logp = anchor = state.logp
    else:
        logp = starting_policy("init", init, game)
        anchor = logp if reference is None else starting_policy("reference", reference, game)
        logp, anchor = with_reference(logp, anchor)
    queries = check_queries(game, algorithm, logp.shape)
    run = prepare(game, rule, feedback, key, metrics, record_every)
    run = replace(run, first_step=jnp.asarray(before, jnp.int32))
    if run.curves and record_every > 1:  # always, so that a tolerance needs no compilation
        run = replace(run, tolerance=jnp.asarray(np.inf if tolerance is None else tolerance, game.dtype))
    notes = algorithm.notes(before + num_steps)
    for note in notes:
        warnings.warn(note, stacklevel=2)

    first = run.begin(logp, anchor) if state is None else run.begin_at(state)
    compiled = Compiled(partial(_chunk, run), eqx.filter_eval_shape(run.observe, first))
    with progress_bar(num_steps, type(algorithm).__name__, progress) as bar:
        carried, history, taken, converged = host_loop(
            compiled, first, num_steps, record_every,
            tolerance=tolerance, chunk_steps=chunk_steps, tick=bar.update,
        )  # fmt: skip

    steps = before + record_steps(taken, record_every)
    last_logp = np.asarray(carried.state.logp)
    failed_at = first_nonfinite(game, history, last_logp, steps, xp=np)
    status = statuses(failed_at, converged, taken == num_steps)
    if taken < num_steps and not (converged is not None and np.all(converged)):
        notes += (f"interrupted: what is here ends at step {before + taken} of {before + num_steps}.",)
    resolved = _resolved(game)
    if "duality_gap" in history and np.any(history["duality_gap"] < resolved):
        note = (
            f"some recorded gaps are below {np.max(resolved):.0e}, what {game.dtype} resolves for these "
            f'payoffs; for smaller ones put jax.config.update("jax_enable_x64", True) first, and make the '
            f"game after it."
        )
        warnings.warn(note, stacklevel=2)
        notes += (note,)
    if np.any(failed_at >= 0):
        where = np.argwhere(failed_at >= 0)[0]
        member = f" (member {tuple(int(k) for k in where)})" if where.size else ""
        failure = (
            f"the policy of {algorithm!r} stopped being finite at step {failed_at[tuple(where)]}{member}. "
            f"Lower the step size"
        )
        if throw:
            raise FloatingPointError(f"{failure}, or pass throw=False to inspect the run up to this step.")
        notes += (f"{failure}.",)
    return Result(
        policy=np.exp(last_logp),
        logp=last_logp,
        state=carried.state,
        steps=steps,
        queries=steps * queries.cost,
        history=history,
        status=status[()],
        first_nonfinite=failed_at[()],
        notes=notes,
        dtype=game.dtype,
    )


def _resolved(game: AbstractGame) -> np.ndarray:
    """Per prompt, the smallest gap that is not rounding; 0 in float64."""
    if game.dtype.itemsize >= 8 or not isinstance(game, PreferenceGame | ZeroSumGame):
        return np.zeros(())
    payoffs = np.asarray(game.skew if isinstance(game, PreferenceGame) else game.payoff, np.float64)
    return np.asarray(RESOLVED * np.finfo(game.dtype).eps * np.abs(payoffs).max((-2, -1)))


@eqx.filter_jit
def _chunk(run: Run, progress: Carry, start: Any, num_steps: Any, capacity: int) -> tuple[Carry, Records]:
    return run.chunk(progress, start, num_steps, capacity)
