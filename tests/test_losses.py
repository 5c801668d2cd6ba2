"""The published losses: the formulas as their papers print them, on every kind of array, at any size."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from comalgames.numerics import losses

MARGINS = np.array([-3.0, -0.7, 0.0, 0.2, 2.5])
RATES = np.array([0.0, 0.3, 0.5, 0.8, 1.0])
SCALE, BASELINE = 0.7, 0.4


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


# Each as its paper prints it, from exp and log; the package's arguments are (what is trained, what is known).
PRINTED = {
    # REBEL, equation 4
    "regression": lambda x, q: (x - q) ** 2,
    # IPO, equation 17, for the label y = 1: (h - 1 / (2 tau))^2, and y = 0: (h + 1 / (2 tau))^2; the mean of
    # the two differs from the square at the mean label by the label's variance.
    "squared": lambda x, q: (
        q * (x - SCALE / 2) ** 2 + (1 - q) * (x + SCALE / 2) ** 2 - SCALE**2 * q * (1 - q)
    ),
    # DPO, equation 7, on the pair as it was labelled, winner first
    "logistic": lambda x, q: -q * np.log(sigmoid(SCALE * x)) - (1 - q) * np.log(sigmoid(-SCALE * x)),
    # SPPO, equation 4.4
    "pointwise": lambda x, q: (x - SCALE * (q - 1 / 2)) ** 2,
    "bco": lambda x, q: -q * np.log(sigmoid(SCALE * x)) - (1 - q) * np.log(1 - sigmoid(SCALE * x)),
    "nca": lambda x, q: -q * np.log(sigmoid(SCALE * x)) - 0.5 * np.log(sigmoid(-SCALE * x)),
    # KTO, equation 8, lambda_D = lambda_U = 1: desirable as often as the answer wins
    "kto": lambda x, q: (
        q * (1 - sigmoid(SCALE * x - BASELINE)) + (1 - q) * (1 - sigmoid(BASELINE - SCALE * x))
    ),
}
CALLS = {
    "regression": losses.regression,
    "squared": lambda x, q: losses.squared(x, q, SCALE),
    "logistic": lambda x, q: losses.logistic(x, q, SCALE),
    "pointwise": lambda x, q: losses.pointwise(x, q, SCALE),
    "bco": lambda x, q: losses.bco(x, q, SCALE),
    "nca": lambda x, q: losses.nca(x, q, SCALE),
    "kto": lambda x, q: losses.kto(x, q, SCALE, BASELINE),
}
each_loss = pytest.mark.parametrize("name", CALLS)

ROUNDING = {"rtol": 1e-14, "atol": 1e-14}


def everywhere(name):
    """The loss at every margin and every preference, [5, 5], by NumPy."""
    return CALLS[name](MARGINS[:, None], RATES[None, :])


@each_loss
def test_the_formula_is_the_published_one(name):
    np.testing.assert_allclose(everywhere(name), PRINTED[name](MARGINS[:, None], RATES), **ROUNDING)


@each_loss
def test_numpy_gives_numpy_and_jax_gives_jax(name):
    found = everywhere(name)
    assert isinstance(found, np.ndarray)
    assert found.dtype == np.float64
    arguments = jnp.asarray(MARGINS)[:, None], jnp.asarray(RATES)
    for call in (CALLS[name], jax.jit(CALLS[name])):
        by_jax = call(*arguments)
        assert isinstance(by_jax, jax.Array)
        np.testing.assert_allclose(by_jax, found, **ROUNDING)
    single = CALLS[name](arguments[0].astype(jnp.float32), arguments[1].astype(jnp.float32))
    assert single.dtype == jnp.float32
    np.testing.assert_allclose(single, found, rtol=1e-5, atol=1e-6)


@each_loss
def test_a_number_alone_will_do(name):
    assert CALLS[name](0.5, 0.8) == pytest.approx(PRINTED[name](0.5, 0.8), rel=1e-14)


# Central differences, whose error is 1e-5^2 of the third derivative and 1e-16 / 1e-5.
@each_loss
def test_the_gradient_is_that_of_the_formula(name):
    slopes = jax.vmap(jax.grad(CALLS[name]))(jnp.asarray(MARGINS), jnp.asarray(RATES))
    step = 1e-5
    quotient = (PRINTED[name](MARGINS + step, RATES) - PRINTED[name](MARGINS - step, RATES)) / (2 * step)
    np.testing.assert_allclose(slopes, quotient, rtol=0, atol=1e-9)


# At the kink of |x| both the loss and its first two derivatives are smooth: softplus'' (0) = 1/4.
@pytest.mark.parametrize(("name", "curvature"), [("logistic", 1 / 4), ("bco", 1 / 4), ("nca", 1.5 / 4 / 1.0)])
def test_the_curvature_at_zero_is_the_sigmoids(name, curvature):
    # NCA's weights are q + 1/2, the others' q + (1 - q) = 1.
    found = jax.grad(jax.grad(CALLS[name]))(0.0, 1.0)
    assert found == pytest.approx(curvature * SCALE**2, rel=1e-12)


@each_loss
def test_margins_of_any_size_are_finite(name):
    extreme = jnp.array([-1e4, 1e4])
    for rate in (0.0, 0.5, 1.0):
        rates = jnp.full(2, rate)
        assert np.all(np.isfinite(CALLS[name](np.asarray(extreme), np.asarray(rates))))
        value, slope = jax.vmap(jax.value_and_grad(CALLS[name]))(extreme, rates)
        assert np.all(np.isfinite(value))
        assert np.all(np.isfinite(slope))
    single = CALLS[name](extreme.astype(jnp.float32), jnp.full(2, 0.3, jnp.float32))
    assert np.all(np.isfinite(single))


def test_far_losses_are_linear_or_saturate():
    assert losses.logistic(-1e4, 1.0, SCALE) == SCALE * 1e4
    assert losses.logistic(1e4, 1.0, SCALE) == 0.0
    # log1p keeps what exp alone would lose: log(1 + exp(-40)) = exp(-40).
    assert losses.logistic(40.0, 1.0, 1.0) == pytest.approx(np.exp(-40.0), rel=1e-12)
    assert losses.kto(1e4, 1.0, SCALE, BASELINE) == 0.0
    assert losses.kto(-1e4, 1.0, SCALE, BASELINE) == 1.0


# The minimizer of a single answer's or pair's loss ----------------------------------------------------------

MINIMIZERS = {
    "squared": lambda q: SCALE * (q - 0.5),
    "pointwise": lambda q: SCALE * (q - 0.5),
    "logistic": lambda q: np.log(q / (1 - q)) / SCALE,
    "bco": lambda q: np.log(q / (1 - q)) / SCALE,
    "nca": lambda q: np.log(2 * q) / SCALE,
}


# Brent's method finds a minimum to the root of the rounding, 1e-8.
@pytest.mark.parametrize("name", MINIMIZERS)
@pytest.mark.parametrize("rate", [0.1, 0.5, 0.7, 0.95])
def test_each_loss_is_least_where_its_docstring_says(name, rate):
    found = scipy.optimize.minimize_scalar(lambda x: CALLS[name](x, rate), bracket=(-1.0, 1.0), tol=1e-12)
    assert found.x == pytest.approx(MINIMIZERS[name](rate), abs=1e-6)


@pytest.mark.parametrize(("rate", "direction"), [(0.8, 1), (0.6, 1), (0.4, -1), (0.1, -1)])
def test_ktos_loss_only_falls_towards_the_likelier_side(rate, direction):
    slopes = jax.vmap(jax.grad(lambda x: losses.kto(x, rate, SCALE, BASELINE)))(jnp.linspace(-20, 20, 81))
    assert np.all(direction * np.asarray(slopes) < 0)


# Labels that were flipped -----------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.4])
@pytest.mark.parametrize("label", [0.0, 1.0, 0.7])
def test_smoothed_labels_are_the_clean_label_on_average(rate, label):
    mean = (1 - rate) * losses.unflipped(label, rate) + rate * losses.unflipped(1 - label, rate)
    assert mean == pytest.approx(label, abs=1e-15)
    if rate:
        assert abs((1 - rate) * label + rate * (1 - label) - label) > 0.01 or label == 0.5


# A loss whose gradient is affine in the label keeps its mean gradient; so does the logistic loss's.
@pytest.mark.parametrize("name", ["squared", "pointwise", "logistic", "bco", "nca"])
def test_with_smoothed_labels_the_mean_gradient_is_the_clean_one(name):
    rate = 0.2

    def flipped(x, label, treat):
        return (1 - rate) * CALLS[name](x, treat(label)) + rate * CALLS[name](x, treat(1 - label))

    for label in (0.0, 1.0):
        clean = jax.vmap(jax.grad(CALLS[name]), (0, None))(jnp.asarray(MARGINS), label)
        smooth = jax.vmap(
            jax.grad(lambda x, y: flipped(x, y, lambda z: losses.unflipped(z, rate))), (0, None)
        )(jnp.asarray(MARGINS), label)
        naive = jax.vmap(jax.grad(lambda x, y: flipped(x, y, lambda z: z)), (0, None))(
            jnp.asarray(MARGINS), label
        )
        np.testing.assert_allclose(smooth, clean, rtol=0, atol=1e-14)
        assert np.max(np.abs(naive - clean)) > 0.01


# torch ------------------------------------------------------------------------------------------------------


@each_loss
def test_torch_gives_torch_with_the_same_gradient(name):
    torch = pytest.importorskip("torch")
    margins = torch.tensor(MARGINS, requires_grad=True)
    found = CALLS[name](margins[:, None], torch.tensor(RATES))
    assert isinstance(found, torch.Tensor)
    np.testing.assert_allclose(found.detach().numpy(), everywhere(name), **ROUNDING)
    found.sum().backward()
    slopes = jax.vmap(jax.vmap(jax.grad(CALLS[name]), (None, 0)), (0, None))(
        jnp.asarray(MARGINS), jnp.asarray(RATES)
    )
    np.testing.assert_allclose(margins.grad.numpy(), slopes.sum(1), **ROUNDING)
    far = CALLS[name](torch.tensor([-1e4, 1e4]), torch.tensor([0.2, 0.2]))
    assert bool(torch.isfinite(far).all())


def test_torch_smooths_labels_too():
    torch = pytest.importorskip("torch")
    labels = torch.tensor([0.0, 1.0])
    np.testing.assert_allclose(losses.unflipped(labels, 0.1).numpy(), [-0.125, 1.125], rtol=1e-6)
