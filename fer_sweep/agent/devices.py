"""Which GPUs an agent may use: ``--gpus`` and ``CUDA_VISIBLE_DEVICES``, checked against what NVML sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fer_sweep.agent.machine import Machine
from fer_sweep.errors import ConfigError, DeviceError


@dataclass(frozen=True)
class Device:
    """One GPU, or a slice of one.

    Attributes:
        token: Names it in ``CUDA_VISIBLE_DEVICES``.
        number: What ``--gpus`` may call it; None for a slice that only its UUID names.
        uuid: In full; empty where it cannot be known.
        product: Its product's name; empty where it cannot be known.
    """

    token: str
    number: int | None = None
    uuid: str = ""
    product: str = ""

    @property
    def identity(self) -> str:
        """Equal for two names of one device, as far as that can be known."""
        return self.uuid or self.token


def choose_devices(
    gpus: str | None, *, machine: Machine, environ: Mapping[str, str]
) -> list[Device]:
    """Find the devices that were asked for.

    ``CUDA_VISIBLE_DEVICES`` wins wherever it is set: its entries are the only devices, and ``gpus`` counts
    within them (a cluster's allocation is often named by UUID). It is checked against NVML where that
    works; where it does not, torch has the last word in the worker.

    Args:
        gpus: As in ``plan_slots``, without ``none``; None takes what is there.
        machine: What NVML sees.
        environ: The environment to read ``CUDA_VISIBLE_DEVICES`` from.

    Returns:
        Each device once; empty if nothing was asked for and there is none.

    Raises:
        DeviceError: If a GPU that was asked for is not there.
        ConfigError: If a device is named twice, or none is.
    """
    allocation = environ.get("CUDA_VISIBLE_DEVICES")
    if allocation is None:
        here = _seen(machine)
        nameable = [*here, *_slices(machine)]
    else:
        here = nameable = _allocated(allocation, machine, environ)
        _refuse_twice(here, f"CUDA_VISIBLE_DEVICES={allocation}")
    if gpus is None:
        return here
    if not here:
        raise DeviceError(_no_gpu(gpus, allocation))
    if gpus.strip().lower() in ("all", "auto"):
        return here
    asked = _split(gpus)
    if not asked:
        raise ConfigError("--gpus: names no device. Give 0,1 or all, or omit it.")
    chosen = [_find(token, nameable) for token in asked]
    missing = [token for token, device in zip(asked, chosen, strict=True) if device is None]
    if missing:
        raise DeviceError(_not_there(gpus, missing[0], here, allocation))
    devices = [device for device in chosen if device is not None]
    _refuse_twice(devices, f"--gpus {gpus}")
    return devices


def _seen(machine: Machine) -> list[Device]:
    return [Device(str(gpu.index), gpu.index, gpu.uuid, gpu.name) for gpu in machine.gpus]


def _slices(machine: Machine) -> list[Device]:
    return [Device(uuid, None, uuid, gpu.name) for gpu in machine.gpus for uuid in gpu.mig_uuids]


def _allocated(text: str, machine: Machine, environ: Mapping[str, str]) -> list[Device]:
    devices: list[Device] = []
    for token in _split(text):
        if not (_is_number(token) or token.startswith(("GPU-", "MIG-"))):
            break  # CUDA reads no further: -1, Slurm's NoDevFiles
        device = _known(token, machine, environ) if machine.gpus else Device(_plain(token))
        if device is None:
            numbers = ", ".join(str(gpu.index) for gpu in machine.gpus)
            raise DeviceError(
                f"CUDA_VISIBLE_DEVICES={text}: no GPU {token} on this machine (got {numbers}). "
                "Correct or unset it, or use --gpus none for the CPU."
            )
        devices.append(Device(device.token, len(devices), device.uuid, device.product))
    return devices


def _known(token: str, machine: Machine, environ: Mapping[str, str]) -> Device | None:
    """The device that CUDA will find under this name; None if it will find none."""
    if not _is_number(token):
        found = _find(token, [*_seen(machine), *_slices(machine)])
        if found is not None:
            return Device(found.uuid, None, found.uuid, found.product)
        # Old drivers name MIG slices in another way than NVML lists them.
        return Device(token) if token.startswith("MIG-") else None
    number = int(token)
    if number > max(gpu.index for gpu in machine.gpus):
        return None
    # By default CUDA counts the fastest GPU first, and NVML cannot tell which one that is.
    same_order = environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID" or len(machine.gpus) == 1
    gpu = next((gpu for gpu in machine.gpus if same_order and gpu.index == number), None)
    return Device(str(number), None, gpu.uuid, gpu.name) if gpu else Device(str(number))


def _find(token: str, devices: Sequence[Device]) -> Device | None:
    if _is_number(token):
        return next((device for device in devices if device.number == int(token)), None)
    # As CUDA does, accept the unique beginning of a UUID.
    matches = [device for device in devices if device.identity.startswith(token)]
    return matches[0] if len(matches) == 1 else None


def _refuse_twice(devices: Sequence[Device], where: str) -> None:
    if len({device.identity for device in devices}) < len(devices):
        raise ConfigError(
            f"{where}: names a device twice. For several workers per GPU add --workers N."
        )


def _not_there(gpus: str, token: str, here: Sequence[Device], allocation: str | None) -> str:
    inside = f" in CUDA_VISIBLE_DEVICES={allocation}" if allocation is not None else ""
    choices = ", ".join(str(device.number) for device in here)
    return (
        f"--gpus {gpus}: no GPU {token}{inside}. There {'is' if len(here) == 1 else 'are'} {choices} "
        "(or their UUIDs, see `nvidia-smi -L`)."
    )


def _no_gpu(gpus: str, allocation: str | None) -> str:
    why = (
        "CUDA_VISIBLE_DEVICES is set and names none"
        if allocation is not None
        else "this machine has no NVIDIA GPU that its driver can see"
    )
    return (
        f"--gpus {gpus}: no GPU here ({why}). "
        "Train on the CPU instead: --workers 2 for two workers, or omit --gpus."
    )


def _plain(token: str) -> str:
    return str(int(token)) if _is_number(token) else token


def _is_number(token: str) -> bool:
    return token.isascii() and token.isdecimal()


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
