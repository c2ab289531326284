"""Calls on two devices of a CPU that do not wait for one another, in a process of their own.

`test_sharding` starts it. A gather that waits in every thread of JAX would block all; there is one
for each core, two at least, so that only machines of few cores can show it.
"""

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from rnnjax.config import parse
from rnnjax.training.sharding import make_partition, prepare_devices
from rnnjax.training.step import CompiledFunction

FEATURES, PARTS, CALLS = 64, 4, 200


def multiply(kernel: jax.Array, batch: jax.Array) -> list[jax.Array]:
    """Returns independent products, each of which is gathered."""
    parts = [batch[:, FEATURES * part : FEATURES * (part + 1)] for part in range(PARTS)]
    return [part @ kernel for part in parts]


def main() -> None:
    """Calls a function whose results are gathered, without waiting for them."""
    config = parse({"devices": {"data": 2}})
    prepare_devices(config)
    partition = make_partition(config)
    mesh = jax.make_mesh((2,), ("rows",))
    whole, rows = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in ((), ("rows",)))
    function = CompiledFunction(
        multiply, partition, in_shardings=(whole, rows), out_shardings=whole
    )
    kernel = jax.device_put(np.eye(FEATURES, dtype=np.float32), whole)
    batch = np.random.default_rng(0).random((256, FEATURES * PARTS), np.float32)
    results = [function(kernel, batch) for _ in range(CALLS)]
    for result in jax.device_get(results):
        np.testing.assert_array_equal(np.concatenate(result, axis=1), batch)


if __name__ == "__main__":
    main()
