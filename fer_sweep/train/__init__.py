"""Training: one config in, one row per epoch out. The only package that imports torch."""

from fer_sweep.train.data import ResidentData
from fer_sweep.train.device import choose_device
from fer_sweep.train.loop import NonFiniteLoss, TrainResult, train

__all__ = ["NonFiniteLoss", "ResidentData", "TrainResult", "choose_device", "train"]
