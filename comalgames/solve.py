"""Run one algorithm on one game and hand back what one wants to look at: a thin host over `trajectory`."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from tqdm.auto import tqdm

from comalgames import validation
from comalgames.algorithms.base import AbstractAlgorithm
from comalgames.feedback import AbstractFeedback
from comalgames.games.base import AbstractGame, PreferenceGame
from comalgames.metrics import Metric
from comalgames.trajectory import (
    GAPS,
    Progress,
    Records,
    Run,
    first_nonfinite,
    named_curves,
    prepare,
    record_steps,
)

# A chunk is what runs between two looks at the clock and the keyboard. Its record buffer holds at most so
# many records and so many numbers; a chunk is lengthened until it takes about so many seconds.
MAX_RECORDS, MAX_NUMBERS, CHUNK_SECONDS = 4096, 1 << 22, 0.25
FIRST_CHUNK = 64

# Early stopping looks at the gap when the number of steps is a power of two from here on, so that where a run
# stops does not depend on how it was cut into chunks.
FIRST_LOOK = 1024

# Below float64 a gap this many times the dtype's epsilon is rounding (1e-6 in float32).
RESOLVED = 8.0


class Result(NamedTuple):
    """What `solve` returns. Arrays are NumPy's; members are the leading axes of the game or the policy.

    Attributes:
        policy: the last policy as probabilities, `[..., n]`.
        logp: the last policy as log-probabilities, `[..., n]`.
        state: the algorithm's last state, to inspect.
        steps: the step number of each record, `[num_records]`; the first is 0, the last the number of steps
            taken.
        queries: the number of queries spent before each record, `[num_records]`.
        history: recorded values by name, each `[num_records, ...]`: `duality_gap` (of the current policy),
            `average_duality_gap` (of the uniform average of all policies so far, the first included),
            `best_duality_gap` (smallest so far over the records), and the metrics asked for.
        status: per member "converged" (the gap stayed below `tolerance` over the last tenth of the records),
            "completed", "nonfinite" or "interrupted".
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

    def __repr__(self) -> str:
        shown = {name: rows[-1] for name, rows in self.history.items() if rows[-1].ndim == 0}
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
    feedback: AbstractFeedback | None = None,
    key: PRNGKeyArray | None = None,
    metrics: Mapping[str, Metric] | Sequence[str | Metric] | None = None,
    record_every: int = 1,
    tolerance: float | None = None,
    throw: bool = True,
    progress: bool = False,
    chunk_steps: int | None = None,
) -> Result:
    """Run `algorithm` on `game` and record the duality gap (and what else is asked) along the way.

    Compiles once per structure of the arguments: other numbers of steps, step sizes, starts and payoffs of
    the same shape run at once. Ctrl-C ends the run after the current chunk and returns what there is.

    Args:
        game: a `PreferenceGame` or `ZeroSumGame`.
        algorithm: a learning rule, such as `MWU(0.1)` or `COMAL(MirrorDescent(1.0, 0.1), period=20)`.
        num_steps: how many steps, >= 0.
        init: the first policy, positive probabilities `[..., n]` (`[..., 2, n]` for two players); uniform by
            default. Leading axes beyond the game's prompts are a batch of policies on the shared game.
        reference: the first reference, likewise; `init` by default. Rules without a reference ignore it.
        feedback: where the rule's information comes from; `Exact(game)` by default.
        key: random key, needed when `feedback` is random.
        metrics: what to record besides the curves of the gap: names ("policy", "logp", "entropy",
            "worst_win_rate"), functions `(game, logp) -> number per prompt`, or a dict of functions by name.
            An empty list records nothing at all.
        record_every: record every so many steps; the first and the last policy are always recorded.
        tolerance: stop early once the gap of every member has stayed below this over the last tenth of the
            records (it is looked at when the number of steps is a power of two >= 1024), and call such
            members "converged".
        throw: raise when a policy stops being finite; otherwise say so in `status`.
        progress: show a progress bar.
        chunk_steps: length of the compiled chunks; chosen by the clock by default. It changes no bit of the
            result.

    Returns:
        A `Result`.

    Raises:
        ValueError: an argument is out of range or does not fit the game (before anything compiles).
        FloatingPointError: a policy became nan or infinite and `throw` is true.

    Example:
        >>> game = cg.games.comal_cycle()
        >>> rule = cg.COMAL(cg.MirrorDescent(step_size=1.0, temperature=0.1), period=20)
        >>> cg.solve(game, rule, 2000, init=[0.2, 0.5, 0.3]).policy
        array([0.36363636, 0.27272727, 0.36363636])
    """
    num_steps = validation.count("num_steps", num_steps)
    record_every = validation.count("record_every", record_every, minimum=1)
    if tolerance is not None:
        validation.positive("tolerance", tolerance)
    if chunk_steps is not None:
        chunk_steps = validation.count("chunk_steps", chunk_steps, minimum=1)
    check(game, algorithm)
    run = prepare(game, as_leaves(algorithm, game.dtype), feedback, key, metrics, record_every)
    notes = algorithm.notes()
    for note in notes:
        warnings.warn(note, stacklevel=2)

    logp = starting_policy("init", init, game)
    reference_logp = logp if reference is None else starting_policy("reference", reference, game)
    logp, reference_logp = jnp.broadcast_arrays(logp, reference_logp)
    bar = tqdm(total=num_steps, disable=not progress, desc=type(algorithm).__name__)
    with bar:
        carried, history, taken, interrupted = host_loop(
            compiled(run), run.begin(logp, reference_logp), num_steps, record_every,
            tolerance=tolerance, chunk_steps=chunk_steps, tick=bar.update,
        )  # fmt: skip

    steps = record_steps(taken, record_every)
    last_logp = np.asarray(carried.state.logp)
    failed_at = first_nonfinite(game, history, last_logp, steps, xp=np)
    status = statuses(history.get("duality_gap"), failed_at, tolerance, interrupted)
    coarse = game.dtype.itemsize < 8 and "duality_gap" in history
    if coarse and np.nanmin(history["duality_gap"]) < RESOLVED * np.finfo(game.dtype).eps:
        note = (
            f"some recorded gaps are below {RESOLVED * np.finfo(game.dtype).eps:.0e}, what {game.dtype} "
            f"resolves; for "
            f'smaller ones put jax.config.update("jax_enable_x64", True) first, and make the game after it.'
        )
        warnings.warn(note, stacklevel=2)
        notes += (note,)
    result = Result(
        policy=np.exp(last_logp),
        logp=last_logp,
        state=carried.state,
        steps=steps,
        queries=steps * algorithm.queries(game.num_actions),
        history=history,
        status=status[()],
        first_nonfinite=failed_at[()],
        notes=notes,
        dtype=game.dtype,
    )
    if throw and np.any(failed_at >= 0):
        where = np.argwhere(failed_at >= 0)[0]
        member = f" (member {tuple(int(k) for k in where)})" if where.size else ""
        raise FloatingPointError(
            f"the policy of {algorithm!r} stopped being finite at step "
            f"{failed_at[tuple(where)]}{member}. "
            f"Lower the step size, or pass throw=False to look at the run up to there."
        )
    return result


def check(game: AbstractGame, algorithm: AbstractAlgorithm[Any]) -> None:
    """Refuse what is not a game, not an algorithm, or a pair of them that does not fit."""
    if not isinstance(game, AbstractGame):
        raise ValueError(
            f"`game` must be a PreferenceGame or ZeroSumGame, got {type(game).__name__}; wrap the matrix."
        )
    if not isinstance(algorithm, AbstractAlgorithm):
        raise ValueError(f"`algorithm` must be a learning rule such as MWU(0.1), got {algorithm!r}.")
    if algorithm.reads_pairs and not isinstance(game, PreferenceGame):
        raise ValueError(
            f"`algorithm` {algorithm!r} reads pairwise preferences, which a {type(game).__name__} does not "
            f"have; "
            f"use a PreferenceGame, or a rule such as MirrorDescent, Extragradient or OptimisticMWU."
        )


def as_leaves(algorithm: Any, dtype: Any) -> Any:
    """The algorithm with its numbers as arrays of the game's dtype: other numbers need no compilation."""

    def convert(leaf: Any) -> Any:
        is_number = isinstance(leaf, (int, float, np.number)) and not isinstance(leaf, bool)
        return jnp.asarray(leaf, dtype) if is_number or eqx.is_inexact_array(leaf) else leaf

    return jax.tree.map(convert, algorithm)


def starting_policy(name: str, policy: Any, game: AbstractGame) -> Float[Array, "*batch n"]:
    """A user's policy as log-probabilities that broadcast against the game; None is uniform."""
    if policy is None:
        return game.uniform()
    array = validation.policy(name, policy, game.num_actions)
    try:
        shape = np.broadcast_shapes(array.shape, game.policy_shape)
    except ValueError as error:
        raise ValueError(
            f"`{name}` of shape {array.shape} does not fit the game's policies of shape {game.policy_shape}."
        ) from error
    return jnp.broadcast_to(jnp.asarray(np.log(array), game.dtype), shape)


class Compiled(NamedTuple):
    """The two compiled functions that `host_loop` calls: a chunk of steps, and the record of the last policy.

    Attributes:
        advance: (progress, start, num_steps, capacity) -> (progress, buffer of records).
        observe: (progress, step) -> record.
        record_axis: which axis of a buffer counts the records.
    """

    advance: Callable[[Progress, Any, Any, int], tuple[Progress, Records]]
    observe: Callable[[Progress, Any], Records]
    record_axis: int = 0


@eqx.filter_jit
def _advance(
    run: Run, progress: Progress, start: Any, num_steps: Any, capacity: int
) -> tuple[Progress, Records]:
    return run.advance(progress, start, num_steps, capacity)


@eqx.filter_jit
def _observe(run: Run, progress: Progress, step: Any) -> Records:
    return run.observe(progress, step)


def compiled(run: Run) -> Compiled:
    """The compiled chunk and record of a run."""
    return Compiled(
        lambda progress, start, num, capacity: _advance(run, progress, start, num, capacity),
        lambda progress, step: _observe(run, progress, step),
    )


def host_loop(
    functions: Compiled,
    progress: Progress,
    num_steps: int,
    record_every: int,
    *,
    tolerance: float | None = None,
    chunk_steps: int | None = None,
    tick: Callable[[int], Any] = lambda steps: None,
) -> tuple[Progress, dict[str, np.ndarray], int, bool]:
    """Take `num_steps` steps in compiled chunks.

    Returns the progress, the records by name (NumPy, all chunks joined), the number of steps taken, and
    whether Ctrl-C ended them early.
    """
    axis = functions.record_axis
    example = jax.eval_shape(functions.observe, progress, jnp.zeros((), jnp.int32))
    numbers = sum(math.prod(leaf.shape) for leaf in example.values())
    capacity = max(1, min(MAX_RECORDS, MAX_NUMBERS // max(numbers, 1)))
    longest = capacity * record_every
    length = min(longest, FIRST_CHUNK * record_every)
    pieces: list[dict[str, np.ndarray]] = []
    taken, interrupted = 0, False
    try:
        while taken < num_steps:
            began = time.perf_counter()
            # Chunks end on a multiple of record_every where they can; the last may end anywhere.
            size = min(length if chunk_steps is None else min(chunk_steps, longest), num_steps - taken)
            look = _next_look(taken)
            if tolerance is not None:
                size = min(size, look - taken)
            ahead, buffer = functions.advance(progress, _int(taken), _int(size), capacity)
            filled = -(-(taken + size) // record_every) - -(-taken // record_every)
            piece = {name: np.asarray(rows).take(range(filled), axis) for name, rows in buffer.items()}
            pieces.append(piece)
            progress, taken = ahead, taken + size
            tick(size)
            if tolerance is not None and taken == look and taken < num_steps and GAPS in piece:
                gaps = named_curves(_joined(pieces, axis), axis, np)["duality_gap"]
                if np.all(_stayed_below(gaps, tolerance, axis)):
                    break
            if chunk_steps is None and time.perf_counter() - began < CHUNK_SECONDS:
                length = min(longest, 8 * length)
    except KeyboardInterrupt:
        interrupted = True
    record = functions.observe(progress, _int(taken))
    pieces.append({name: np.expand_dims(np.asarray(row), axis) for name, row in record.items()})
    return progress, named_curves(_joined(pieces, axis), axis, np), taken, interrupted


def statuses(
    gaps: np.ndarray | None,
    failed_at: np.ndarray,
    tolerance: float | None,
    interrupted: bool,
    axis: int = 0,
) -> np.ndarray:
    """How each member's run ended, as an array of words of the shape of `failed_at`."""
    status = np.full(failed_at.shape, "interrupted" if interrupted else "completed", dtype="<U11")
    if tolerance is not None and gaps is not None:
        status[_stayed_below(gaps, tolerance, axis)] = "converged"
    status[failed_at >= 0] = "nonfinite"
    return status


def _joined(pieces: Sequence[Mapping[str, np.ndarray]], axis: int) -> dict[str, np.ndarray]:
    return {name: np.concatenate([piece[name] for piece in pieces], axis) for name in pieces[-1]}


def _stayed_below(gaps: np.ndarray, tolerance: float, axis: int) -> np.ndarray:
    num_records = gaps.shape[axis]
    tail = gaps.take(range(num_records - max(1, num_records // 10), num_records), axis)
    return np.asarray(np.all(tail < tolerance, axis=axis))


def _next_look(taken: int) -> int:
    """The next number of steps, above `taken`, at which early stopping looks at the gap."""
    return int(max(FIRST_LOOK, 2 ** taken.bit_length()))


def _int(value: int) -> Array:
    return jnp.asarray(value, jnp.int32)
