"""The seam between the agent and training: what a worker needs of torch, and nothing else of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from fer_sweep.agent.messages import Cause
from fer_sweep.errors import DeviceError
from fer_sweep.train_config import TrainConfig

if TYPE_CHECKING:
    from fer_sweep.train.device import DeviceKind


@dataclass(frozen=True)
class DataSource:
    """What to train on: the data, and the device that holds them.

    Attributes:
        data: As in ``load_faces``; None when nothing was configured.
        cache: Where the parsed data is kept; shared by all workers.
        drop_duplicates: Leave out training copies of validation and test images.
        device: The only kind of device to use; None takes a GPU if there is one.
    """

    data: str | None
    cache: Path
    drop_duplicates: bool = False
    device: DeviceKind | None = None


class Result(Protocol):
    """What training hands back; ``fer_sweep.train.TrainResult`` is one."""

    @property
    def summary(self) -> Mapping[str, Any]:
        """Values for the run's summary."""

    @property
    def stopped(self) -> bool:
        """True when ``should_stop`` ended it early."""


class Trainer(Protocol):
    """Trains one config after another on data loaded once."""

    @property
    def device(self) -> str:
        """As shown to the user."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know about the data."""

    def train(
        self,
        config: TrainConfig,
        log: Callable[[dict[str, float]], None],
        should_stop: Callable[[], bool],
        *,
        checkpoint: Path | None,
        on_batch: Callable[[int, int], None] | None,
        describe: Callable[[dict[str, Any]], None] | None,
    ) -> Result:
        """Train one trial; see ``fer_sweep.train.train``."""

    def cause(self, error: BaseException) -> Cause:
        """Classify what a trial died of."""

    def free_memory(self) -> None:
        """Give back what a dead trial left on the device, so that the next one starts clean.

        Raises:
            DeviceError: If the device takes no more work from this process; a fresh one has to go on.
        """


_OUT_OF_MEMORY = ("can't allocate memory", "CUDA error: out of memory", "_STATUS_ALLOC_FAILED")

TrainerLoader = Callable[[DataSource], Trainer]
"""Called once per worker."""


class TorchTrainer:
    """The real one: data resident on the device, torch imported once.

    Args:
        source: What to train on.

    Raises:
        DataError: If the data cannot be used.
        DeviceError: If the device cannot.
    """

    def __init__(self, source: DataSource) -> None:
        from fer_sweep.data import load_faces
        from fer_sweep.train import ResidentData, choose_device

        # The data first: reading it fails in a blink where torch needs seconds to start.
        faces = load_faces(source.data, cache=source.cache, drop_duplicates=source.drop_duplicates)
        self.notes = faces.notes
        self._device = choose_device(source.device)
        self._data = ResidentData.from_faces(faces, self._device)

    @property
    def device(self) -> str:
        """The GPU's name, or cpu."""
        from fer_sweep.train.device import device_name

        return device_name(self._device)

    def train(
        self,
        config: TrainConfig,
        log: Callable[[dict[str, float]], None],
        should_stop: Callable[[], bool],
        *,
        checkpoint: Path | None = None,
        on_batch: Callable[[int, int], None] | None = None,
        describe: Callable[[dict[str, Any]], None] | None = None,
    ) -> Result:
        """Train one trial on the resident data."""
        from fer_sweep.train import train

        return train(
            config,
            self._data,
            log,
            should_stop,
            checkpoint=checkpoint,
            on_batch=on_batch,
            describe=describe,
        )

    def cause(self, error: BaseException) -> Cause:
        """Tell a full device and a diverged loss from an ordinary exception."""
        import torch

        from fer_sweep.train import NonFiniteLoss

        if isinstance(error, NonFiniteLoss):
            return "non-finite"
        out = isinstance(error, (torch.OutOfMemoryError, MemoryError))
        # CUDA's libraries and the CPU's allocator raise a bare RuntimeError; its text is all there is to go by.
        said = isinstance(error, RuntimeError) and any(
            text in str(error) for text in _OUT_OF_MEMORY
        )
        if out or said:
            return "out-of-memory"
        return "exception"

    def free_memory(self) -> None:
        """Empty torch's cache after the dead trial's tensors are gone."""
        import gc

        import torch

        gc.collect()
        if self._device.type != "cuda":
            return
        try:
            # A failed assertion or an illegal access spoils the CUDA context for good: all calls fail from then on.
            torch.cuda.synchronize(self._device)
            torch.cuda.empty_cache()
        except RuntimeError as error:
            why = str(error).strip().partition("\n")[0]
            raise DeviceError(
                f"the GPU takes no more work from this process ({why}). A fresh one goes on."
            ) from error
