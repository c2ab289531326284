"""The processor of a run: its instruction sets, caches and threads, which affect rounding.

XLA compiles for the instruction sets and splits work by caches and threads. The same program rounds
otherwise with wider vectors, fused multiply-adds or matrix blocks of another size.
"""

import os
import platform
import re
import sys
from pathlib import Path
from typing import Any

_IDENTITY = {
    "vendor": ("vendor_id", "CPU implementer"),
    "family": ("cpu family", "CPU architecture"),
    "model": ("model", "CPU part"),
    "stepping": ("stepping", "CPU revision"),
    "microcode": ("microcode",),
}
"""Fields of /proc/cpuinfo, on x86 and on ARM."""
_INSTRUCTION_SETS = re.compile(
    r"sse4_[12]|avx\w*|fma\w*|f16c|bmi[12]|amx\w*"  # x86
    r"|asimd\w*|sve\w*|sme\d?|(sve)?bf16|(sve)?i8mm|fphp"  # ARM
)
"""The ones of arithmetic for which XLA and Eigen have special code."""


def describe_processor() -> dict[str, Any]:
    """Returns the processor's identity, instruction sets, caches and threads, ready for JSON.

    Fields that the system does not report are empty, which outside Linux are most.
    """
    fields = _fields(read_text("/proc/cpuinfo"))
    identity = {
        name: next((fields[key] for key in keys if key in fields), "")
        for name, keys in _IDENTITY.items()
    }
    flags = fields.get("flags", fields.get("Features", "")).split()
    return {
        "processor": fields.get("model name", platform.processor()),
        "processor_identity": identity,
        "instruction_sets": sorted(flag for flag in flags if _INSTRUCTION_SETS.fullmatch(flag)),
        "caches": _caches(Path("/sys/devices/system/cpu/cpu0/cache")),
        "cpus": _available_cpus(),
        "threads": {"online": os.cpu_count(), "of_xla": _threads_of_xla()},
    }


def _available_cpus() -> int | None:
    """Returns the number of processors that this process may use, by its affinity on Linux."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()


def read_text(path: str) -> str:
    """Returns the text of a system file; '' if it cannot be read."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _fields(cpuinfo: str) -> dict[str, str]:
    """Returns the fields of the first processor."""
    first = cpuinfo.strip().split("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def _caches(folder: Path) -> dict[str, str]:
    """Returns the size of each cache by its level and kind, `{"L1 data": "32K"}` say."""
    sizes = {}
    for index in sorted(folder.glob("index*")):
        level, kind, size = (
            read_text(str(index / name)).strip() for name in ("level", "type", "size")
        )
        sizes[f"L{level} {kind.lower()}"] = size
    return sizes


def _threads_of_xla() -> int:
    """Returns the number of threads of XLA on the CPU, counted among those of this process.

    They exist once JAX has initialized its backend; 0 where the system does not name threads.
    """
    names = (read_text(str(path)) for path in Path("/proc/self/task").glob("*/comm"))
    return sum(name.startswith("tf_XLAEigen") for name in names)
