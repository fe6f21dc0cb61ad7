"""Where a trial computes, and in which number format."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from fer_sweep.errors import DeviceError

DeviceKind = Literal["cuda", "cpu"]
Format = Literal["fp32", "bf16", "fp16"]

_CPU_INFO = Path("/proc/cpuinfo")


def choose_device(kind: DeviceKind | None = None) -> torch.device:
    """The device to train on; nothing touches CUDA before this is called.

    Args:
        kind: ``cuda`` for the first visible GPU, ``cpu`` for the CPU whatever else is there; None for a
            GPU if there is one.

    Raises:
        DeviceError: If torch cannot compute on the GPU that was asked for.
    """
    if kind is None:
        kind = "cuda" if torch.cuda.is_available() else "cpu"
    elif kind == "cuda":
        _check_gpu()
    return torch.device("cuda", 0) if kind == "cuda" else torch.device("cpu")


def _check_gpu() -> None:
    """Compute something: a driver too old, a GPU too old or a full one shows in nothing less."""
    try:
        torch.zeros(1, device="cuda").add_(1).item()
    except (RuntimeError, AssertionError) as error:  # AssertionError: torch built without CUDA
        why = re.split(r"\n|\. ", str(error).strip())[0].rstrip(".")
        full = "out of memory" in why
        fix = "Free its memory, use another" if full else "Update the driver, use another GPU"
        raise DeviceError(
            f"torch {torch.__version__}: cannot use the GPU ({why}). {fix}, or --gpus none for the CPU."
        ) from error


def device_name(device: torch.device) -> str:
    """The device as a report shows it: the GPU's product name, or ``cpu``."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def choose_format(device: torch.device) -> Format:
    """The fastest number format that the device computes natively.

    A CPU without bf16 arithmetic emulates it and loses; fp16 needs loss scaling and is for GPUs older
    than Ampere.
    """
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    return "bf16" if device.type == "cpu" and _cpu_has_bf16(_CPU_INFO) else "fp32"


def _cpu_has_bf16(cpu_info: Path) -> bool:
    """Whether Linux lists a native bf16 instruction set; False where it cannot be known."""
    try:
        lines = cpu_info.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    flags = next((line.split() for line in lines if line.startswith("flags")), [])
    return not {"avx512_bf16", "amx_bf16"}.isdisjoint(flags)


@dataclass(frozen=True)
class Precision:
    """How forward passes compute on a device; weights and losses stay float32."""

    device: torch.device
    format: Format

    def autocast(self) -> torch.autocast:
        """The context of a forward pass."""
        half = torch.float16 if self.format == "fp16" else torch.bfloat16
        return torch.autocast(self.device.type, dtype=half, enabled=self.format != "fp32")

    def scaler(self) -> torch.amp.GradScaler:
        """Loss scaling for fp16, a pass-through for the other formats."""
        return torch.amp.GradScaler(self.device.type, enabled=self.format == "fp16")
