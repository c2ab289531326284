"""Memory that is kept."""

import platform
import subprocess
import sys

import pytest

WORK = """
import resource, threading
from rnnjax.allocator import retain_freed_memory
{first}

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def take_and_free():
    for _ in range(10):
        bytearray(b"x") * (3 * 2**24)

def work():  # all in one thread: one that starts while another still ends gets a new pool
    take_and_free()
    count = faults()
    take_and_free()
    print(faults() - count)

thread = threading.Thread(target=work)
thread.start()
thread.join()
"""
PAGES = 10 * 3 * 2**24 // 4096


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library allocates here")
@pytest.mark.parametrize("keeps", [True, False])
def test_a_thread_that_takes_and_frees_again_and_again_is_given_the_same_memory(keeps):
    first = "retain_freed_memory()" if keeps else ""
    command = [sys.executable, "-c", WORK.format(first=first)]
    page_faults = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    if keeps:
        assert page_faults < PAGES / 100
    else:
        assert page_faults > PAGES / 2
