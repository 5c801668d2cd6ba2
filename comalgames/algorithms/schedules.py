"""Numbers that change with the step: usable wherever a rule takes a step size or a temperature."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, TypeAlias

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int, Real

from comalgames import validation


class AbstractSchedule(eqx.Module):
    """A number that changes with the step: usable wherever a rule takes a step size or a temperature."""

    @abstractmethod
    def __call__(self, step: Int[Array, ""]) -> Float[Array, ""]:
        """The value at the given step, counted from 0."""


Number: TypeAlias = Real[ArrayLike, ""] | AbstractSchedule


def at(value: Number, step: Any) -> Any:
    """The value itself, or its value at `step` if it is a schedule.

    Args:
        value: a number, or an `AbstractSchedule`.
        step: counted from 0.
    """
    return value(jnp.asarray(step, jnp.int32)) if isinstance(value, AbstractSchedule) else value


class Scaled(AbstractSchedule):
    """A schedule times a number.

    Attributes:
        schedule: the schedule.
        factor: the number.
    """

    schedule: AbstractSchedule
    factor: Any

    def __call__(self, step: Int[Array, ""]) -> Float[Array, ""]:
        """`factor * schedule(step)`."""
        scaled: Array = self.factor * self.schedule(step)
        return scaled


class Geometric(AbstractSchedule):
    """A number that falls by the same factor with every step, to a lowest value: start * factor^step.

    `COMAL(ExactProx(Geometric(0.01, 0.1, lowest=1e-6)), period=1)` is COMAL with Newton's method inside and a
    temperature that falls: on random games of 10 (100) actions its gap is below 1e-12 after 5 (7) steps and
    18 (33) linear solves, medians of 20 games; at worst 27 (69) solves.

    Args:
        start: the first value, > 0.
        factor: > 0; below 1 the value falls, above 1 it rises.
        lowest: no value is below this, >= 0. An exact solve at temperature tau is good to about 1e-16 / tau.

    Raises:
        ValueError: a number is out of range.
    """

    start: Any
    factor: Any
    lowest: Any = 0.0

    def __check_init__(self) -> None:
        validation.positive("start", self.start)
        validation.positive("factor", self.factor)
        validation.non_negative("lowest", self.lowest)

    def __call__(self, step: Int[Array, ""]) -> Float[Array, ""]:
        """max(lowest, start * factor^step)."""
        exponent = step.astype(jnp.result_type(self.start))
        return jnp.maximum(self.start * jnp.power(self.factor, exponent), self.lowest)


class InverseTime(AbstractSchedule):
    """A number that falls like 1 / step: scale / (step + offset).

    `NashMD(InverseTime(2 / tau, 2), tau)` is Nash-MD with the step sizes of its theorem.

    Args:
        scale: the numerator, > 0.
        offset: > 0; the first value is scale / offset.

    Raises:
        ValueError: a number is out of range.
    """

    scale: Any
    offset: Any = 1.0

    def __check_init__(self) -> None:
        validation.positive("scale", self.scale)
        validation.positive("offset", self.offset)

    def __call__(self, step: Int[Array, ""]) -> Float[Array, ""]:
        """scale / (step + offset)."""
        value: Array = self.scale / (step.astype(jnp.result_type(self.scale)) + self.offset)
        return value
