"""Several devices change no bit: runs are independent, so sharding them only moves them."""

import json
import os
import subprocess
import sys

PROGRAM = """
import hashlib, json, sys
import jax

jax.config.update("jax_enable_x64", True)
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
import numpy as np

import comalgames as cg

game = cg.games.random(jax.random.key(0), 10, [8])
mesh = Mesh(np.array(jax.devices()), ("run",))
sharded = jax.device_put(game.skew, NamedSharding(mesh, PartitionSpec("run")))
digests = {}
for name, rule in {
    "COMAL": cg.COMAL(cg.MirrorDescent(1.0, 0.1), 20),
    "optimistic": cg.OptimisticMWU(1.0),
    "extragradient": cg.Extragradient(2.0),
}.items():
    run = jax.jit(lambda skew: cg.trajectory(cg.PreferenceGame.from_skew(skew), rule, 200)[::2])
    state, records, = run(sharded)
    assert len(state.logp.sharding.device_set) == len(jax.devices())
    rows = np.concatenate([np.asarray(state.logp).ravel(), np.asarray(records["duality_gap"]).ravel()])
    digests[name] = hashlib.sha256(rows.tobytes()).hexdigest()
print(json.dumps([len(jax.devices()), digests]))
"""


def run_on(num_devices: int) -> list:
    environment = {
        **os.environ,
        "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={num_devices}",
        "JAX_PLATFORMS": "cpu",
    }
    # A deadlock between forced host devices must fail the test, not hang it.
    answer = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, timeout=120
    )
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)


def test_sharding_runs_over_devices_gives_identical_bytes() -> None:
    assert run_on(4) == [4, run_on(1)[1]]
