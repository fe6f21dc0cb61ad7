"""Devices and number formats, and what importing the package costs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fer_sweep.errors import DeviceError
from fer_sweep.train import choose_device, device
from fer_sweep.train.device import Format, Precision, choose_format, device_name

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        pytest.param("fpu avx2 avx512f avx512_bf16", "bf16", id="avx512"),
        pytest.param("fpu amx_bf16 amx_tile", "bf16", id="amx"),
        pytest.param("fpu avx2 avx512f", "fp32", id="emulated"),
    ],
)
def test_a_cpu_computes_in_bf16_only_natively(
    flags: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text(f"processor\t: 0\nmodel name\t: X\nflags\t\t: {flags}\n")
    monkeypatch.setattr(device, "_CPU_INFO", info)
    assert choose_format(CPU) == expected


def test_an_unknown_cpu_computes_in_float32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "_CPU_INFO", tmp_path / "missing")
    assert choose_format(CPU) == "fp32"


@pytest.mark.parametrize(
    ("number_format", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)]
)
def test_forward_passes_compute_in_the_format(number_format: Format, dtype: torch.dtype) -> None:
    layer = torch.nn.Linear(4, 4)
    with Precision(CPU, number_format).autocast():
        assert layer(torch.zeros(1, 4)).dtype == dtype


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_the_cpu_is_chosen() -> None:
    assert choose_device() == CPU
    assert device_name(CPU) == "cpu"


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_was_asked_for_is_not_replaced_by_the_cpu() -> None:
    with pytest.raises(DeviceError, match=r"cannot use the GPU \(.+\)\. Update .* --gpus none"):
        choose_device("cuda")


def test_a_full_gpu_is_not_called_an_old_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 MiB")

    monkeypatch.setattr(torch, "zeros", full)
    with pytest.raises(DeviceError, match=r"CUDA out of memory.*\)\. Free its memory"):
        choose_device("cuda")


def test_the_cpu_that_was_asked_for_is_taken_whatever_else_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("cpu") == CPU


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_a_visible_gpu_is_chosen_and_named() -> None:
    chosen = choose_device()
    assert chosen.type == "cuda"
    assert device_name(chosen) != "cuda"
    assert choose_format(chosen) in ("bf16", "fp16")


@pytest.mark.slow
def test_importing_train_neither_loads_torchvision_or_wandb_nor_starts_cuda() -> None:
    code = (
        "import sys, fer_sweep.train, torch; "
        "print(sorted({'torchvision', 'wandb'} & set(sys.modules)), torch.cuda.is_initialized())"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[] False"
