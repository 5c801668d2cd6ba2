"""Random games with a prescribed Nash policy, rotation frequencies and slacks."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from comalgames import validation
from comalgames.games.preference import PreferenceGame


class DesignedGame(NamedTuple):
    """The result of `designed`, with NumPy arrays that are exact up to rounding errors.

    Attributes:
        game: the preference game.
        scale: factor applied to the requested frequencies and slacks; 1 unless `rescale` was needed.
        nash: the unique Nash policy, probabilities `[n]`: the support, followed by zeros.
        frequencies: rotation frequencies at the Nash policy, `scale` times the requested ones, largest first.
        slacks: slacks of the actions after the support, `scale` times the requested ones.
    """

    game: PreferenceGame
    scale: float
    nash: np.ndarray
    frequencies: np.ndarray
    slacks: np.ndarray

    @property
    def logp(self) -> np.ndarray:
        """The Nash policy as log-probabilities, -inf off its support."""
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(self.nash))


def designed(
    key: PRNGKeyArray | Any,
    nash: Any,
    frequencies: Any,
    slacks: Any = (),
    *,
    rescale: bool = False,
    num_draws: int = 1000,
) -> DesignedGame:
    """A random game with a given unique Nash policy, given rotation frequencies and given slacks.

    It controls the conditioning of a game: the convergence rates of entropic rules depend on
    `step_size * frequency` on the support, and on `exp(-step_size * slack)` off the support. With p the
    policy on its support and D = diag(p),

        P - 1/2 = D^-1/2 Q K Q.T D^-1/2   on the support,    K = blkdiag([[0, -w_k], [w_k, 0]], ...),

    where the columns of Q are a random orthonormal basis of the vectors orthogonal to sqrt(p). Then
    diag(p) (P - 1/2) has the eigenvalues 0 and +-i w_k, and p spans its kernel. Payoffs of actions off the
    support are random, shifted so that each action loses exactly its slack. All slacks are > 0, so that the
    Nash policy is unique.

    Large frequencies may require payoffs outside of [-1/2, 1/2]: this is always the case above 1/pi, and
    often if a probability is small. Bases Q are drawn until the payoffs fit. On three actions all bases give
    the same largest payoff.

    Args:
        key: a JAX random key. The game is made in NumPy, outside of `jit` and `vmap`.
        nash: the Nash policy on its support, an odd number of probabilities > 0 that sum to 1.
        frequencies: radians per unit of step size, (len(nash) - 1) / 2 numbers > 0.
        slacks: slacks of the actions off the support, one for each of them, payoffs > 0 and at most 1/2.
        rescale: whether to multiply frequencies and slacks by the largest possible factor, returned as
            `scale`, if no drawn basis fits, instead of raising an error.
        num_draws: largest number of bases drawn, >= 1.

    Raises:
        ValueError: an argument is not as described, or no drawn basis fits and `rescale` is false; the
            message gives the largest possible factor.

    Example:
        >>> designed = cg.games.designed(jax.random.key(0), [0.2, 0.3, 0.5], [0.1], slacks=[0.01])
        >>> cg.nash(designed.game).policy
        array([0.2, 0.3, 0.5, 0. ])
    """
    validation.random_key("key", key)
    policy = _probabilities(nash)
    speeds = _above_zero("frequencies", frequencies)
    if len(speeds) != len(policy) // 2:
        raise ValueError(
            f"`frequencies` must be {len(policy) // 2} numbers, (n - 1) / 2 for the n = {len(policy)} "
            f"actions in `nash`, got {len(speeds)}."
        )
    losses = _above_zero("slacks", slacks)
    num_draws = validation.count("num_draws", num_draws, minimum=1)

    generator = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    wanted = 1.0 if losses.max(initial=0) <= 0.5 else 0.5 / losses.max()
    inside, largest = np.zeros((len(policy), len(policy))), np.inf
    for _ in range(num_draws):
        drawn = _turning(generator, policy, speeds)
        if np.abs(drawn).max() < largest:
            inside, largest = drawn, np.abs(drawn).max()
        if wanted * largest <= 0.5:
            break
    scale = wanted if wanted * largest <= 0.5 else 0.5 / largest
    if scale < 1 and not rescale:
        # The factor in the message is rounded down, so that the payoffs fit with it.
        raise ValueError(
            f"`frequencies` and `slacks` do not fit into payoffs in [-1/2, 1/2]: multiply all by at most "
            f"{scale * (1 - 1e-5):.6g} (the best of {num_draws} draws; a larger `num_draws` may allow more), "
            f"or pass rescale=True."
        )
    skew = _with_losers(generator, policy, np.clip(scale * inside, -0.5, 0.5), scale * losses)
    whole = np.concatenate([policy, np.zeros(len(losses))])
    return DesignedGame(
        PreferenceGame.from_skew(skew), scale, whole, np.sort(scale * speeds)[::-1], scale * losses
    )


def _turning(generator: np.random.Generator, policy: np.ndarray, frequencies: np.ndarray) -> np.ndarray:
    """Payoffs with the Nash policy `policy` and these rotation frequencies, in a random basis."""
    root = np.sqrt(policy)
    others = generator.normal(size=(len(policy), len(policy) - 1))
    basis = np.linalg.qr(np.column_stack([root, others]))[0][:, 1:]
    product = (frequencies * basis[:, 1::2]) @ basis[:, 0::2].T
    return np.asarray((product - product.T) / np.outer(root, root))


def _with_losers(
    generator: np.random.Generator, policy: np.ndarray, inside: np.ndarray, slacks: np.ndarray
) -> np.ndarray:
    """The payoffs on the support, extended by random actions that lose `slacks` against `policy`."""
    support, others = len(policy), len(slacks)
    spread = generator.uniform(-1, 1, (others, support))
    spread -= (spread @ policy)[:, None]  # payoff 0 against the policy
    reach = np.abs(spread).max(-1, keepdims=True)
    room = 0.5 - slacks[:, None]
    lower = np.zeros((support + others, support + others))
    lower[support:, :support] = spread * np.divide(room, reach, out=np.zeros_like(room), where=reach > 0)
    lower[support:, :support] -= slacks[:, None]
    lower[support:, support:] = np.tril(generator.uniform(-0.5, 0.5, (others, others)), -1)
    lower[:support, :support] = np.tril(inside, -1)
    return np.clip(lower - lower.T, -0.5, 0.5)


def _probabilities(nash: Any) -> np.ndarray:
    policy = validation.real_array("nash", nash).astype(np.float64)
    if policy.ndim != 1 or len(policy) % 2 == 0:
        raise ValueError(
            f"`nash` must use an odd number of actions (no game has a unique Nash policy on an even number), "
            f"shape [n], got shape {policy.shape}."
        )
    if np.min(policy) <= 0 or abs(policy.sum() - 1) > validation.SUM_TOLERANCE:
        raise ValueError(
            f"`nash` must be probabilities > 0 that sum to 1, got {nash!r}. Specify actions off the support "
            f"by `slacks`."
        )
    return np.asarray(policy / policy.sum())


def _above_zero(name: str, value: Any) -> np.ndarray:
    numbers = validation.real_array(name, value).astype(np.float64)
    if numbers.ndim != 1 or np.min(numbers, initial=np.inf) <= 0:
        raise ValueError(f"`{name}` must be a list of numbers > 0, got {value!r}.")
    return numbers
