"""A small causal transformer whose answers can be enumerated, so that its policy is known exactly."""

from __future__ import annotations

import itertools
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, PRNGKeyArray

from comalgames import validation
from comalgames.lm import losses

# Width of an MLP relative to the width of the residual stream.
MLP_FACTOR = 2

# Constant added to the variance in layer normalization.
VARIANCE_FLOOR = 1e-5


class Block(eqx.Module):
    """A transformer block: causal self-attention and an MLP, with layer normalization before each.

    Attributes:
        query_key_value: projections of the stream to queries, keys and values of all heads.
        output: projection of the heads to the stream.
        up: first matrix of the MLP.
        down: second matrix of the MLP.
        num_heads: number of attention heads.
    """

    query_key_value: Float[Array, "three width width"]
    output: Float[Array, "width width"]
    up: Float[Array, "width hidden"]
    down: Float[Array, "hidden width"]
    num_heads: int = eqx.field(static=True)

    def __call__(self, stream: Float[Array, "*batch length width"]) -> Float[Array, "*batch length width"]:
        """The residual stream after attention and MLP."""
        stream = stream + self._attention(_normalize(stream))
        return stream + jax.nn.gelu(_normalize(stream) @ self.up) @ self.down

    def _attention(self, stream: Float[Array, "*batch length width"]) -> Array:
        *batch, length, width = stream.shape
        size = width // self.num_heads
        query, key, value = (
            (stream @ matrix).reshape(*batch, length, self.num_heads, size) for matrix in self.query_key_value
        )
        scores = jnp.einsum("...ihd,...jhd->...hij", query, key) / math.sqrt(size)
        is_past = np.tril(np.ones((length, length), bool))
        weights = jax.nn.softmax(jnp.where(is_past, scores, -jnp.inf), axis=-1)
        heads = jnp.einsum("...hij,...jhd->...ihd", weights, value)
        return heads.reshape(*batch, length, width) @ self.output


class Transformer(eqx.Module):
    """A causal transformer that answers prompts with strings of a fixed length.

    The object is a pytree of its parameters. Each prompt is one token before the answer; all other parameters
    are shared between prompts. There are `num_tokens ** length` answers, in alphabetical order: with 3 tokens
    and length 2, answer 5 is the string 1, 2.

    Args:
        key: a JAX random key.
        num_prompts: number of prompts, >= 1.
        num_tokens: size V of the alphabet, >= 2.
        length: number L of tokens in an answer, >= 1.
        width: width of the residual stream, a multiple of `num_heads`.
        num_layers: number of blocks, >= 1.
        num_heads: number of attention heads per block.

    Raises:
        ValueError: a number is not as described.

    Example:
        >>> model = cg.lm.tiny.Transformer(jax.random.key(0), num_prompts=4)
        >>> model.answers_logp().shape
        (4, 9)
    """

    prompts: Float[Array, "prompts width"]
    tokens: Float[Array, "v width"]
    positions: Float[Array, "length width"]
    blocks: tuple[Block, ...]
    unembed: Float[Array, "width v"]

    def __init__(
        self,
        key: PRNGKeyArray,
        num_prompts: int,
        num_tokens: int = 3,
        length: int = 2,
        width: int = 32,
        num_layers: int = 1,
        num_heads: int = 2,
    ) -> None:
        num_prompts = validation.count("num_prompts", num_prompts, minimum=1)
        num_tokens = validation.count("num_tokens", num_tokens, minimum=2)
        length = validation.count("length", length, minimum=1)
        num_layers = validation.count("num_layers", num_layers, minimum=1)
        num_heads = validation.count("num_heads", num_heads, minimum=1)
        width = validation.count("width", width, minimum=1)
        if width % num_heads:
            raise ValueError(f"`width` must be a multiple of `num_heads` = {num_heads}, got {width}.")
        hidden = MLP_FACTOR * width
        blocks = tuple(
            Block(
                query_key_value=_deviations(3, width, width),
                output=_deviations(width, width),
                up=_deviations(width, hidden),
                down=_deviations(hidden, width),
                num_heads=num_heads,
            )
            for _ in range(num_layers)
        )
        embeddings = tuple(jnp.ones((rows, width)) for rows in (num_prompts, num_tokens, length))
        # One draw for all parameters, because each shape is a separate compilation.
        deviations, unravel = ravel_pytree((*embeddings, blocks, _deviations(width, num_tokens)))
        drawn = unravel(deviations * jax.random.normal(key, deviations.shape))
        self.prompts, self.tokens, self.positions, self.blocks, self.unembed = drawn

    @property
    def length(self) -> int:
        """Number of tokens in an answer."""
        return self.positions.shape[-2]

    @property
    def num_answers(self) -> int:
        """Number of answers, V ** L."""
        num: int = self.tokens.shape[-2] ** self.length
        return num

    def next_logp(
        self, prefixes: Int[Array | np.ndarray, "prompts batch prefix"]
    ) -> Float[Array, "prompts batch length v"]:
        """Log-probabilities of the next token after the prompt and after each token of each prefix.

        Args:
            prefixes: tokens for each prompt, `[prompts, batch, l]`, l < L; row t of the result depends only
                on the first t tokens.
        """
        num_prompts, batch, size = prefixes.shape
        prompt = jnp.broadcast_to(
            self.prompts[:, None, None], (num_prompts, batch, 1, self.prompts.shape[-1])
        )
        stream = jnp.concatenate([prompt, self._one_hot(prefixes) @ self.tokens], axis=-2)
        stream = stream + self.positions[: size + 1]
        for block in self.blocks:
            stream = block(stream)
        return jax.nn.log_softmax(_normalize(stream) @ self.unembed, axis=-1)

    def answers(self) -> np.ndarray:
        """All answers, `[V ** L, L]`, in the order of `answers_logp`."""
        return self._strings(self.length)

    def answers_logp(self) -> Float[Array, "prompts answers"]:
        """The exact policy: log-probabilities of all answers to each prompt, by teacher forcing."""
        every = self.answers()
        # Answers that differ only in their last token share one pass through the network.
        next_logp = self.next_logp(self._prefixes(self.length - 1))
        of_answers = jnp.repeat(next_logp, self.tokens.shape[-2], axis=-3)
        token_logp = jnp.sum(self._one_hot(every) * of_answers, axis=-1)
        summed: Array = losses.sequence_logp(token_logp, np.ones(every.shape))
        return summed

    def generate(self, key: PRNGKeyArray, num_draws: int) -> Int[Array, "prompts draws length"]:
        """Draw answers token by token, `[prompts, num_draws, L]`.

        Args:
            key: a JAX random key.
            num_draws: number of answers for each prompt.
        """
        drawn = jnp.zeros((self.prompts.shape[-2], num_draws, 0), int)
        for position in range(self.length):
            # Every possible prefix is evaluated once and shared by all draws.
            next_logp = self.next_logp(self._prefixes(position))[..., -1, :]
            of_draws = jnp.take_along_axis(next_logp, self.index(drawn)[..., None], axis=-2)
            token = jax.random.categorical(jax.random.fold_in(key, position), of_draws)
            drawn = jnp.concatenate([drawn, token[..., None]], axis=-1)
        return drawn

    def index(self, answers: Int[Array, "*batch length"]) -> Int[Array, "*batch"]:
        """Indices of answers, or of shorter strings, in alphabetical order, as in `answers_logp`.

        Args:
            answers: tokens, `[..., l]`, all of the same length.
        """
        place_value = self.tokens.shape[-2] ** np.arange(answers.shape[-1])[::-1]
        number: Array = jnp.sum(answers * place_value, axis=-1)
        return number

    def _strings(self, length: int) -> np.ndarray:
        """All strings of the given length in alphabetical order, `[V ** length, length]`."""
        listed = list(itertools.product(range(self.tokens.shape[-2]), repeat=length))
        return np.array(listed, int).reshape(len(listed), length)

    def _prefixes(self, length: int) -> np.ndarray:
        """All strings of the given length for each prompt, `[prompts, V ** length, length]`."""
        strings = self._strings(length)
        return np.broadcast_to(strings, (self.prompts.shape[-2], *strings.shape))

    def _one_hot(self, tokens: Any) -> Array:
        """1 at each token's place. A product with it is a look-up whose derivative is no slow scatter."""
        return jax.nn.one_hot(tokens, self.tokens.shape[-2], dtype=self.tokens.dtype)


def _deviations(*shape: int) -> Array:
    """Standard deviations of weights at random: their variance is 1 / (number of inputs)."""
    return jnp.full(shape, 1 / math.sqrt(shape[-2]))


def _normalize(stream: Array) -> Array:
    """Layer normalization: mean 0 and variance 1 at each position."""
    centred = stream - jnp.mean(stream, axis=-1, keepdims=True)
    return centred * jax.lax.rsqrt(jnp.mean(centred**2, axis=-1, keepdims=True) + VARIANCE_FLOOR)
