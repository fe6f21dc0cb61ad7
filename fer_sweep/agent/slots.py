"""Slots: the GPU (or share of the CPU) that one worker holds for its whole life.

A worker sees its device only through ``CUDA_VISIBLE_DEVICES``, set before it starts: torch reads the
variable once, and a GPU that a process cannot see cannot be filled by accident. Devices are found through
NVML, without torch, whose import takes seconds and would open a CUDA context in the supervisor.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fer_sweep.agent.machine import Machine
from fer_sweep.errors import ConfigError, DeviceError

WORKER_MEMORY_GB = 1.5
"""What a CPU worker may need: torch 0.5, data 0.1, activations of a ResNet batch, and the allocator's pad."""

_MALLOC_ENV = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "2147483647",
    "MALLOC_TOP_PAD_": "268435456",
}
"""glibc gives each batch's large blocks back to the kernel and faults them in again: measured 1.4x to 1.7x on
small networks, one thread (docs: performance). Must be set before the process starts."""


@dataclass(frozen=True)
class Slot:
    """One worker's place.

    Attributes:
        label: As shown to the user: ``gpu 0``, ``GPU-6f…``, ``cpu 1``.
        env: What to add to the worker's environment.
        threads: CPU threads the worker may use.
    """

    label: str
    env: Mapping[str, str] = field(default_factory=dict)
    threads: int = 1


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

    ``CUDA_VISIBLE_DEVICES`` wins wherever it is set: its entries, verbatim, are the only devices, and
    ``gpus`` counts within them (a cluster's allocation is often named by UUID).

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
    """
    if workers is not None and workers < 1:
        raise ConfigError(
            f"--workers: must be at least 1 (got {workers}). Omit it to fill the machine."
        )
    on_cpu = gpus is not None and gpus.strip().lower() in ("none", "cpu")
    tokens = [] if on_cpu else _device_tokens(gpus, machine, environ)
    limit = max(1, at_most) if at_most is not None else 10_000
    if tokens:
        return _gpu_plan(
            tokens, min(workers or len(tokens), limit), machine, asked=gpus is not None
        )
    return _cpu_plan(workers, limit, machine, asked=on_cpu or workers is not None)


def _device_tokens(gpus: str | None, machine: Machine, environ: Mapping[str, str]) -> list[str]:
    allocated = environ.get("CUDA_VISIBLE_DEVICES")
    if allocated is None:
        here = [str(gpu.index) for gpu in machine.gpus]
        known = {identifier for gpu in machine.gpus for identifier in (gpu.uuid, *gpu.mig_uuids)}
    else:
        here = _split(allocated)
        here = here[: here.index("-1")] if "-1" in here else here  # CUDA ignores what follows -1
        known = set(here)
    if gpus is None or gpus.strip().lower() in ("all", "auto"):
        if gpus is not None and not here:
            raise DeviceError(_no_gpu(gpus, allocated))
        return here
    asked = _split(gpus)
    if not asked:
        raise ConfigError("--gpus: names no device. Give 0,1 or all, or omit it.")
    if len(set(asked)) < len(asked):
        raise ConfigError(
            f"--gpus {gpus}: names a device twice. For several workers per GPU add --workers N."
        )
    return [_resolve(token, gpus, here, known, allocated) for token in asked]


def _resolve(
    token: str, gpus: str, here: Sequence[str], known: set[str], allocated: str | None
) -> str:
    if not here:
        raise DeviceError(_no_gpu(gpus, allocated))
    if token.isdigit() and int(token) < len(here):
        return here[int(token)]
    # As CUDA does, accept the unique beginning of a UUID.
    matches = [identifier for identifier in known if identifier.startswith(token)]
    if not token.isdigit() and len(matches) == 1:
        return token
    inside = f" in CUDA_VISIBLE_DEVICES={allocated}" if allocated is not None else ""
    choices = ", ".join(str(i) for i in range(len(here)))
    raise DeviceError(
        f"--gpus {gpus}: no GPU {token}{inside}. There {'is' if len(here) == 1 else 'are'} {choices} "
        "(or their UUIDs, see `nvidia-smi -L`)."
    )


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _no_gpu(gpus: str, allocated: str | None) -> str:
    why = (
        "CUDA_VISIBLE_DEVICES is set and names none"
        if allocated is not None
        else "this machine has no NVIDIA GPU that its driver can see"
    )
    return f"--gpus {gpus}: no GPU here ({why}). Train on the CPU instead: --workers 2 for two workers, or omit --gpus."


def _gpu_plan(tokens: Sequence[str], count: int, machine: Machine, *, asked: bool) -> SlotPlan:
    threads = max(1, machine.cores // count)
    shared = count > len(tokens)
    slots = []
    for number in range(count):
        token = tokens[number % len(tokens)]
        share = f".{number // len(tokens)}" if shared else ""
        label = (f"gpu {token}" if token.isdigit() else token[:12]) + share
        env = {
            "CUDA_VISIBLE_DEVICES": token,
            "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
            **_thread_env(threads),
        }
        slots.append(Slot(label, env, threads))
    names = sorted({gpu.name for gpu in machine.gpus})
    kind = f" ({', '.join(names)})" if names else ""
    reason = "" if asked else ", found by themselves; choose with --gpus"
    return SlotPlan(
        tuple(slots),
        f"{_count(count, 'worker')} on GPU {', '.join(tokens[:count])}{kind}{reason}",
        on_gpu=True,
    )


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
