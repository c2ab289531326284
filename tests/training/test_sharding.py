"""Several devices: the same results as on one, bit for bit or within rounding; refused configs."""

import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from rnnjax.errors import InputError

from .small_runs import news_config, train


def test_runs_on_eight_devices():
    file = Path(__file__).with_name("sharded_runs.py")
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=8"
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(file)]
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4_000:] + done.stderr[-4_000:]
    assert "passed" in done.stdout
    assert "skipped" not in done.stdout


def test_calls_on_devices_of_a_cpu_do_not_block_each_other():
    command = [sys.executable, "-m", "training.calls_in_flight"]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    tests = Path(__file__).resolve().parents[1]
    done = subprocess.run(
        command, env=environment, cwd=tests, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[:2_000]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"deterministic_shards": 6}, "deterministic_shards is 6: .*set a power of two (4, say)"),
        ({"deterministic_shards": 32}, "batch_size to a multiple (32, say), .*divisor (16, say)"),
        ({"deterministic_shards": 4, "devices__data": 8}, "set devices.data to a divisor of 4"),
        (
            {"deterministic_shards": 4, "devices__data": 2, "devices__fsdp": 2},
            "set one of them alone",
        ),
        ({"deterministic_shards": 4, "replicates": 2}, "deterministic_shards and replicates are"),
        ({"devices__data": 3, "devices__fsdp": 2}, "expected a divisor of devices.data"),
        ({"devices__data": 17}, "each device needs a row, so set devices.data to 16 or less"),
    ],
)
def test_config_is_refused(news, values, message):
    pattern = message.replace("(", r"\(").replace(")", r"\)")
    with pytest.raises(InputError, match=pattern):
        news_config(news, **values)


def test_too_many_devices_are_refused_before_work(news, tmp_path):
    assert len(jax.devices()) == 1  # JAX has started, and the CPU cannot be split any more
    message = re.escape("config.devices.data: given 16, and JAX has 1 cpu device; in Python, call")
    with pytest.raises(InputError, match=message):
        train(news_config(news, devices__data=16), tmp_path / "run")
    assert not (tmp_path / "run").exists()
