"""What this machine offers: GPUs (through NVML), cores and memory, as far as we may use them."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

_GB = 1e9


@dataclass(frozen=True)
class Gpu:
    """One NVIDIA GPU.

    Attributes:
        index: In PCI bus order, as ``nvidia-smi`` counts.
        uuid: ``GPU-…``.
        name: The product's name.
        mig_uuids: Its MIG slices (``MIG-…``), each a device of its own.
    """

    index: int
    uuid: str
    name: str
    mig_uuids: tuple[str, ...] = ()


@dataclass(frozen=True)
class Machine:
    """What may be used: ``cores`` and ``memory_gb`` respect affinity and cgroup limits."""

    gpus: tuple[Gpu, ...]
    cores: int
    memory_gb: float


def this_machine() -> Machine:
    """Look at the machine this process runs on."""
    return Machine(_find_gpus(), _cores(), _memory_gb())


def _find_gpus() -> tuple[Gpu, ...]:
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return ()  # no driver, or no permission: as good as no GPU
    try:
        found = [_read_gpu(index) for index in range(pynvml.nvmlDeviceGetCount())]
    except pynvml.NVMLError:
        return ()
    finally:
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()
    return tuple(gpu for gpu in found if gpu is not None)


def _read_gpu(index: int) -> Gpu | None:
    """One GPU; None if it does not answer, as one that fell off its bus: the others are still good."""
    import pynvml

    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        uuid, name = pynvml.nvmlDeviceGetUUID(handle), pynvml.nvmlDeviceGetName(handle)
    except pynvml.NVMLError:
        return None
    return Gpu(index, _text(uuid), _text(name), _mig_uuids(handle))


def _mig_uuids(handle: object) -> tuple[str, ...]:
    import pynvml

    found = []
    try:
        for number in range(pynvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
            slice_handle = pynvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, number)
            found.append(_text(pynvml.nvmlDeviceGetUUID(slice_handle)))
    except pynvml.NVMLError:
        pass  # not a MIG device, or no further slice
    return tuple(found)


def _text(value: str | bytes) -> str:
    """Older NVML bindings return bytes."""
    return value.decode() if isinstance(value, bytes) else value


def _cores() -> int:
    affinity = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    quota = _read_numbers("/sys/fs/cgroup/cpu.max")
    if len(quota) == 2 and quota[1] > 0:
        return max(1, min(affinity, int(quota[0] / quota[1])))
    return affinity


def _memory_gb() -> float:
    """Memory that is free or can be freed, within the cgroup's limit."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        available = next(line for line in lines if line.startswith("MemAvailable:"))
        free_gb = int(available.split()[1]) * 1024 / _GB
    except (OSError, StopIteration):
        free_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _GB
    limit = _read_numbers("/sys/fs/cgroup/memory.max")
    used = _read_numbers("/sys/fs/cgroup/memory.current")
    if limit and used:
        return min(free_gb, (limit[0] - used[0]) / _GB)
    return free_gb


def _read_numbers(path: str) -> list[float]:
    """Numbers of a cgroup file; empty when it is absent or says ``max`` (no limit)."""
    try:
        return [float(word) for word in Path(path).read_text(encoding="ascii").split()]
    except (OSError, ValueError):
        return []
