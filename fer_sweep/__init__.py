"""fersweep: sweep, run and diagnose facial-expression networks with the real wandb client."""

__version__ = "0.1.0"
