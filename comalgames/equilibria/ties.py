"""Test of exact ties between payoffs: the rank of a floating-point matrix, without rounding."""

from __future__ import annotations

import numpy as np

# The rank modulo a prime is at most the rank, and less only if the prime divides certain minors: by chance
# once in two thousand million for each prime. Products of two residues fit into 63 bits.
PRIMES = (2147483629, 1967513927)


def rank(matrix: np.ndarray) -> int:
    """The rank of a matrix whose entries are taken exactly as they are stored.

    Args:
        matrix: `[rows, columns]`, finite, float64.
    """
    return max(_rank_modulo(prime, matrix) for prime in PRIMES)


def _rank_modulo(prime: int, matrix: np.ndarray) -> int:
    mantissa, exponent = np.frexp(matrix)
    powers = np.array([pow(2, k, prime) for k in range(int(np.ptp(exponent)) + 1)])
    left = np.ldexp(mantissa, 53).astype(np.int64) % prime * powers[exponent - exponent.min()] % prime
    num_pivots = 0
    for column in range(matrix.shape[1]):
        rows = num_pivots + np.flatnonzero(left[num_pivots:, column])
        if len(rows) == 0:
            continue
        left[[num_pivots, rows[0]]] = left[[rows[0], num_pivots]]
        left[num_pivots] = left[num_pivots] * pow(int(left[num_pivots, column]), -1, prime) % prime
        below = left[num_pivots + 1 :]
        below -= below[:, column : column + 1] * left[num_pivots] % prime
        below %= prime
        num_pivots += 1
    return num_pivots
