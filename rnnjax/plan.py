"""Plans a training before it runs: parameters, compilations, padding, memory, time, devices.

    rnnjax plan --config bilstm
    rnnjax plan --config configs/bilstm.py --memory 16 --config.batch_size=512
    rnnjax plan --config bilstm --config.devices.data=2 --json

Reads the data, compiles the programs of the run, and times some of its steps on this machine.
Memory and operations are those that XLA reports of the programs. Nothing is written. Ends with
status 1 if the run does not fit into memory.
"""

import argparse
import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from rnnjax.cli.config_flags import add_config_flags, parsed_config
from rnnjax.cli.launcher import launch
from rnnjax.cli.parser import Parser
from rnnjax.config import Config
from rnnjax.console import write_output
from rnnjax.reporting.atomic_files import encode_json

if TYPE_CHECKING:
    from rnnjax.training.memory_advice import MemoryFit, Remedy
    from rnnjax.training.run_plan import RunPlan, ShapePlan

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def add_flags(parser: Parser) -> None:
    """Adds --memory, --json and the flags of the config."""
    parser.add_argument(
        "--memory",
        type=_gibibytes,
        metavar="GIB",
        help="The memory of a device that the run should fit into, its programs and their arrays; "
        "without it that of this machine's first device, of a CPU with the whole process.",
    )
    parser.add_argument("--json", action="store_true", help="Print the plan as JSON.")
    add_config_flags(parser)


def main(args: argparse.Namespace) -> int:
    """Prints the plan, and returns the exit status."""
    config = parsed_config(args)
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", str(config.preallocate).lower())

    from rnnjax import cache
    from rnnjax.training.memory_advice import fit_memory
    from rnnjax.training.memory_limits import device_memory
    from rnnjax.training.planning import load_unstarted, make_plan
    from rnnjax.training.sharding import prepare_devices

    prepare_devices(config)
    cache.enable_compilation_cache()
    run = load_unstarted(config)
    available = device_memory()
    plan = make_plan(run, available)
    overhead = plan.memory.code + (0 if args.memory else plan.memory.process)
    limit, fit = args.memory or available, None
    if args.memory or plan.memory.peak > limit:
        fit = fit_memory(run, plan, limit, overhead)
    if args.json:
        write_output(encode_json({**plan.values(), "fit": _fit_values(fit)}, indent=2))
    else:
        write_output(format_plan(config, plan, fit))
    return int(fit is not None and not fit.fits)


def _gibibytes(text: str) -> int:
    """Returns the bytes of a number of GiB: a `type` of argparse."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 2**20:
        raise argparse.ArgumentTypeError(f"given {text!r}, expected a number of GiB above 0")
    return int(value * 2**30)


def format_plan(config: Config, plan: "RunPlan", fit: "MemoryFit | None") -> str:
    """Returns a plan as text.

    Args:
      config: of the run.
      plan: of it.
      fit: of it in memory; None if it was not measured.
    """
    from rnnjax.training.results import format_layers

    paragraphs = [
        format_layers(plan.layers),
        f"epochs: {plan.epochs}, each of {plan.steps_per_epoch:,} steps of {config.batch_size} "
        f"rows, on {plan.rows['train']:,} training rows; validations: {plan.validations}; "
        f"checkpoints: {plan.checkpoints}, each of {format_bytes(plan.memory.checkpoint)}",
        "\n".join(_align([_SHAPE_HEADS, *map(_shape_row, plan.shapes)])),
        "\n".join(_summary_lines(plan)),
        "\n".join(_exchange_lines(plan)),
    ]
    if fit:
        paragraphs.append("\n".join(_fit_lines(fit)))
    return "\n\n".join(paragraphs)


_SHAPE_HEADS = ("padded to", "steps", "padding", "GFLOP", "temporaries", "compiled in", "a step")


def _shape_row(shape: "ShapePlan") -> list[str]:
    return [
        " x ".join(map(str, shape.lengths)),
        f"{shape.steps:,}",
        "" if shape.padding is None else f"{shape.padding:.1%}",
        f"{shape.flops / 1e9:,.3f}",
        format_bytes(shape.memory.temporaries),
        f"{shape.compile_seconds:.1f} s",
        "" if shape.step_seconds is None else f"{1000 * shape.step_seconds:.2f} ms",
    ]


def _summary_lines(plan: "RunPlan") -> Iterable[str]:
    """Yields the lines on compilations, padding, memory and time."""
    yield (
        f"compilations: {plan.compilations['train']} of the training step, "
        f"{plan.compilations['evaluate']} of the evaluation"
    )
    if plan.padding is not None:
        yield f"padding: {plan.padding:.1%} of the time steps of an epoch"
    memory = plan.memory
    state = ", ".join(f"{name} {format_bytes(size)}" for name, size in memory.state.items())
    yield f"memory of the state: {state}"
    yield (
        f"memory of a device: {format_bytes(memory.peak)} at most; the largest training step "
        f"{format_bytes(memory.step.peak)} (temporaries {format_bytes(memory.step.temporaries)}), "
        f"the largest evaluation {format_bytes(memory.evaluation.peak)}, programs "
        f"{format_bytes(memory.code)}"
        + (f", before the first step {format_bytes(memory.process)}" if memory.process else "")
    )
    if plan.time is None:
        yield "time: not measured, the run needs more memory than this machine has"
        return
    parts = (
        ("data", plan.time.data),
        ("compilation", plan.time.compilation),
        ("training steps", plan.time.steps),
        ("validations", plan.time.validations),
        ("scores", plan.time.scores),
    )
    listed = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in parts)
    yield f"time on this machine: {plan.time.total:.1f} s; {listed}"


def _exchange_lines(plan: "RunPlan") -> Iterable[str]:
    """Yields a line for each number of devices."""
    yield "all-reduce of gradients on several devices, a step:"
    for exchange in plan.exchanges:
        line = (
            f"  {exchange.devices} devices: each adds {format_bytes(exchange.reduced_bytes)}, "
            f"sends {format_bytes(exchange.sent_bytes)} and "
            f"computes {exchange.flops / 1e9:,.3f} GFLOP"
        )
        if exchange.step_seconds and exchange.bandwidth:
            line += (
                f", {1000 * exchange.step_seconds:.2f} ms of this machine; sending takes as long "
                f"at {format_bytes(exchange.bandwidth)}/s"
            )
        yield line


def _fit_lines(fit: "MemoryFit") -> Iterable[str]:
    """Yields the lines on a device's memory."""
    verdict = "fits" if fit.fits else "does NOT fit"
    yield f"{format_bytes(fit.peak)} of {format_bytes(fit.limit)}: {verdict}"
    for remedy in fit.remedies:
        yield f"  {_describe_remedy(remedy)}"
    if not fit.fits and not any(remedy.fits for remedy in fit.remedies):
        yield (
            "  no batch size fits: lower config.model.features, config.model.layers, "
            "config.model.embedding.features or config.data.vocabulary.size, or share out large "
            "arrays with config.devices.fsdp"
        )


def _describe_remedy(remedy: "Remedy") -> str:
    changes = " ".join(f"--config.{key}={value}" for key, value in remedy.changes.items())
    verdict = "fits" if remedy.fits else "does not fit"
    return f"{changes}: {format_bytes(remedy.peak)}, {verdict}"


def _fit_values(fit: "MemoryFit | None") -> dict[str, Any] | None:
    if fit is None:
        return None
    remedies = [vars(remedy) for remedy in fit.remedies]
    return {"limit": fit.limit, "peak": fit.peak, "fits": fit.fits, "remedies": remedies}


def format_bytes(count: float) -> str:
    """Returns a number of bytes in the largest unit of which it has one."""
    unit = 0
    while count >= 1024 and unit < len(_UNITS) - 1:
        count, unit = count / 1024, unit + 1
    return f"{count:.1f} {_UNITS[unit]}" if unit else f"{count:.0f} {_UNITS[0]}"


def _align(rows: Sequence[Sequence[str]]) -> Iterable[str]:
    """Yields the rows of a table with columns of equal widths, to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))


if __name__ == "__main__":
    launch("plan")
