"""Games made to order: a Nash policy, how fast play turns around it, and what other actions lose."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from comalgames import validation
from comalgames.games.preference import PreferenceGame


class DesignedGame(NamedTuple):
    """What `designed` returns; arrays are NumPy's, and what they say of the game is exact up to rounding.

    Attributes:
        game: the preference game.
        scale: what requested frequencies and slacks were multiplied by to fit; 1 unless `rescale` was needed.
        nash: the only Nash policy, probabilities `[n]`; the support first, then zeros.
        frequencies: the game's rotation frequencies at it, `scale` times those requested, largest first.
        slacks: how much the actions after the support lose against it, `scale` times those requested.
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
    """A random game with a chosen unique Nash policy, chosen rotation frequencies and chosen slacks.

    The knob of conditioning: entropic rules contract by factors that depend on `step_size * frequency` on the
    support, and by `exp(-step_size * slack)` off it. With p the policy on its support and D = diag(p),

        P - 1/2 = D^-1/2 Q K Q.T D^-1/2   on the support,    K = blkdiag([[0, -w_k], [w_k, 0]], ...),

    where the columns of Q are a random orthonormal basis of the vectors orthogonal to sqrt(p). Then
    diag(p) (P - 1/2) has the eigenvalues 0 and +-i w_k, and 0 belongs to p alone. Actions off the support are
    random, moved to lose exactly their slack. All slacks are > 0, so that no Nash policy uses them, and the
    Nash policy is unique.

    Large frequencies may not fit into payoffs within [-1/2, 1/2]: none above 1/pi does, and few when a
    probability is small. Bases Q are drawn until one fits. On three actions all bases are equally good.

    Args:
        key: a JAX random key. The game is made in NumPy, outside of `jit` and `vmap`.
        nash: the Nash policy on its support, an odd number of probabilities > 0 that sum to 1.
        frequencies: radians per unit of step size, (len(nash) - 1) / 2 numbers > 0.
        slacks: of the actions off the support, payoffs > 0 and at most 1/2; there are as many such actions.
        rescale: where nothing fits, multiply frequencies and slacks by the largest number that does, and
            return it as `scale`, rather than refuse.
        num_draws: how many bases to try, >= 1.

    Raises:
        ValueError: an argument is not as above, or nothing drawn fits and `rescale` is false; the message
            says which common scale would.

    Example:
        >>> made = cg.games.designed(jax.random.key(0), [0.2, 0.3, 0.5], [0.1], slacks=[0.01])
        >>> cg.nash(made.game).policy
        array([0.2, 0.3, 0.5, 0. ])
    """
    check_key(key)
    policy = _probabilities(nash)
    speeds = _above_zero("frequencies", frequencies)
    if len(speeds) != len(policy) // 2:
        raise ValueError(
            f"`frequencies` must be {len(policy) // 2} numbers, one per pair of actions left of the "
            f"{len(policy)} in `nash`, got {len(speeds)}."
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
        # Rounded down, so that what the message says fits.
        raise ValueError(
            f"`frequencies` and `slacks` do not fit into payoffs in [-1/2, 1/2]: multiply all by at most "
            f"{scale * (1 - 1e-5):.6g} (the best of {num_draws} draws; more `num_draws` may allow more), or "
            f"pass rescale=True to have that done."
        )
    skew = _with_losers(generator, policy, np.clip(scale * inside, -0.5, 0.5), scale * losses)
    whole = np.concatenate([policy, np.zeros(len(losses))])
    return DesignedGame(
        PreferenceGame.from_skew(skew), scale, whole, np.sort(scale * speeds)[::-1], scale * losses
    )


def check_key(key: Any) -> None:
    """Refuse a seed where a JAX random key is needed."""
    if isinstance(key, (int, float)):
        raise ValueError(f"`key` must be a JAX random key, got {key!r}; pass jax.random.key({key!r}).")


def _turning(generator: np.random.Generator, policy: np.ndarray, frequencies: np.ndarray) -> np.ndarray:
    """Payoffs that leave `policy` and turn all else at these frequencies, in a random basis."""
    root = np.sqrt(policy)
    others = generator.normal(size=(len(policy), len(policy) - 1))
    basis = np.linalg.qr(np.column_stack([root, others]))[0][:, 1:]
    product = (frequencies * basis[:, 1::2]) @ basis[:, 0::2].T
    return np.asarray((product - product.T) / np.outer(root, root))


def _with_losers(
    generator: np.random.Generator, policy: np.ndarray, inside: np.ndarray, slacks: np.ndarray
) -> np.ndarray:
    """The payoffs on the support, and random actions after it that lose `slacks` against `policy`."""
    support, others = len(policy), len(slacks)
    spread = generator.uniform(-1, 1, (others, support))
    spread -= (spread @ policy)[:, None]  # now worth 0 against the policy
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
    if policy.min() <= 0 or abs(policy.sum() - 1) > validation.SUM_TOLERANCE:
        raise ValueError(
            f"`nash` must be probabilities > 0 that sum to 1, got {nash!r}. Actions that it does not use "
            f"come after it, one per slack."
        )
    return np.asarray(policy / policy.sum())


def _above_zero(name: str, value: Any) -> np.ndarray:
    numbers = validation.real_array(name, value).astype(np.float64)
    if numbers.ndim != 1 or numbers.min(initial=np.inf) <= 0:
        raise ValueError(f"`{name}` must be a list of numbers > 0, got {value!r}.")
    return numbers
