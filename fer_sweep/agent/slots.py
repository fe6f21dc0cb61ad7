"""Slots: the GPU (or share of the CPU) that one worker holds for its whole life.

A worker sees its device only through ``CUDA_VISIBLE_DEVICES``, set before it starts: torch reads the
variable once, and a GPU that a process cannot see cannot be filled by accident. Devices are found through
NVML, without torch, whose import takes seconds and would open a CUDA context in the supervisor; the worker
checks that torch can use what was planned.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from fer_sweep.agent.devices import Device, choose_devices
from fer_sweep.agent.machine import Machine
from fer_sweep.errors import ConfigError

if TYPE_CHECKING:
    from fer_sweep.train.device import DeviceKind

WORKER_MEMORY_GB = 1.5
"""What a CPU worker may need: torch 0.5, data 0.1, activations of a ResNet batch, and the allocator's pad."""

_SHORTEST_UUID = 12

_MALLOC_ENV = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "2147483647",
    "MALLOC_TOP_PAD_": "268435456",
}
"""glibc gives each batch's large blocks back to the kernel and faults them in again: measured 1.4x to 1.7x on
small networks, one thread (benchmarks/training.py). Must be set before the process starts."""


@dataclass(frozen=True)
class Slot:
    """One worker's place.

    Attributes:
        label: As shown to the user, and unique: ``gpu 0``, ``GPU-6f…``, ``cpu 1``.
        env: What to add to the worker's environment.
        threads: CPU threads the worker may use.
        device: What the worker must compute on; it refuses to start on anything else.
    """

    label: str
    env: Mapping[str, str] = field(default_factory=dict)
    threads: int = 1
    device: DeviceKind = "cpu"


@dataclass(frozen=True)
class SlotPlan:
    """The slots of one agent, and one line that tells the user what was chosen and why."""

    slots: tuple[Slot, ...]
    note: str
    on_gpu: bool = False


def plan_slots(
    *,
    gpus: str | None = None,
    workers: int | None = None,
    machine: Machine,
    environ: Mapping[str, str],
    at_most: int | None = None,
) -> SlotPlan:
    """Decide how many workers run, and on what.

    Args:
        gpus: ``0,1``, ``all``, ``GPU-…`` or ``MIG-…`` identifiers, ``none`` for the CPU; None takes what
            is there.
        workers: How many workers in all; more than there are GPUs share them in turn.
        machine: Devices, cores and memory.
        environ: The environment to read ``CUDA_VISIBLE_DEVICES`` from.
        at_most: No more workers than trials are left.

    Raises:
        DeviceError: If a GPU that was asked for is not there.
        ConfigError: If the request makes no sense.

    See Also:
        ``choose_devices`` on ``CUDA_VISIBLE_DEVICES``, which wins wherever it is set.
    """
    if workers is not None and workers < 1:
        raise ConfigError(
            f"--workers: must be at least 1 (got {workers}). Omit it to fill the machine."
        )
    on_cpu = gpus is not None and gpus.strip().lower() in ("none", "cpu")
    devices = [] if on_cpu else choose_devices(gpus, machine=machine, environ=environ)
    limit = max(1, at_most) if at_most is not None else 10_000
    if devices:
        count = min(workers or len(devices), limit)
        # An index of the user's own variable means what CUDA's order makes of it; ours are in NVML's.
        order = {} if "CUDA_VISIBLE_DEVICES" in environ else {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
        return _gpu_plan(devices, count, machine.cores, order, asked=gpus is not None)
    return _cpu_plan(workers, limit, machine, asked=on_cpu or workers is not None)


def _gpu_plan(
    devices: Sequence[Device], count: int, cores: int, order: Mapping[str, str], *, asked: bool
) -> SlotPlan:
    threads = max(1, cores // count)
    shared = count > len(devices)
    names = _short_names([device.token for device in devices])
    slots = []
    for number in range(count):
        position = number % len(devices)
        name = names[position]
        share = f".{number // len(devices)}" if shared else ""
        label = (f"gpu {name}" if name.isdecimal() else name) + share
        visible = {"CUDA_VISIBLE_DEVICES": devices[position].token}
        slots.append(Slot(label, {**visible, **order, **_thread_env(threads)}, threads, "cuda"))
    products = sorted({device.product for device in devices[:count]} - {""})
    kind = f" ({', '.join(products)})" if products else ""
    reason = "" if asked else ", found by themselves; choose with --gpus"
    return SlotPlan(
        tuple(slots),
        f"{_count(count, 'worker')} on GPU {', '.join(names[:count])}{kind}{reason}",
        on_gpu=True,
    )


def _short_names(tokens: Sequence[str]) -> list[str]:
    """As much of each UUID as tells it from the others."""
    length = _SHORTEST_UUID
    while len({token[:length] for token in tokens}) < len(tokens):
        length += 1
    return [token[:length] for token in tokens]


def _cpu_plan(workers: int | None, limit: int, machine: Machine, *, asked: bool) -> SlotPlan:
    by_memory = max(1, int(machine.memory_gb / WORKER_MEMORY_GB))
    count = min(workers or min(machine.cores, by_memory), limit)
    threads = max(1, machine.cores // count)
    env = {"CUDA_VISIBLE_DEVICES": "", **_thread_env(threads), **_malloc_env()}
    slots = tuple(Slot(f"cpu {number}", env, threads) for number in range(count))
    reason = "" if asked else "; no GPU found"
    if not workers and by_memory < min(machine.cores, limit):
        reason += f"; {machine.memory_gb:.0f} GB of memory allow no more"
    return SlotPlan(
        slots, f"{_count(count, 'worker')} on the CPU, {_count(threads, 'thread')} each{reason}"
    )


def _thread_env(threads: int) -> dict[str, str]:
    return {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}


def _malloc_env() -> dict[str, str]:
    return dict(_MALLOC_ENV) if platform.libc_ver(str(Path("/proc/self/exe")))[0] == "glibc" else {}


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
