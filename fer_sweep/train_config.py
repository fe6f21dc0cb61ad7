"""Every hyperparameter of one trial: its meaning, unit, bounds and default. No torch here.

``TrainConfig`` is what ``train()`` is called with, what a sweep's parameters are checked against
(``fer_sweep.space``), and what a run's ``config`` holds. Adding a field here makes it sweepable.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fer_sweep.errors import ConfigError

Architecture = Literal[
    "cnn1",
    "cnn2",
    "cnn4",
    "cnn4_bn",
    "cnn8_bn",
    "vgg_small",
    "resnet18_w32",
    "resnet18",
    "resnet34",
    "se_resnet18_w32",
    "cbam_resnet18_w32",
    "cct_tiny",
]
Augmentation = Literal["none", "flip", "readme", "medium", "crop44", "strong", "randaug"]
Optimizer = Literal["adam", "adamw", "sgd"]
LrSchedule = Literal["constant", "cosine"]

ARCHITECTURES: tuple[str, ...] = get_args(Architecture)
AUGMENTATIONS: tuple[str, ...] = get_args(Augmentation)


class TrainConfig(BaseModel):
    """The resolved hyperparameters of one trial."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    arch: Architecture = Field("cnn4_bn", description="Network of the registry (train/models.py).")
    learning_rate: float = Field(1e-3, gt=0, le=10, description="Peak learning rate.")
    batch_size: int = Field(128, ge=1, le=65536, description="Images per optimizer step.")
    dropout: float = Field(
        0.0,
        ge=0,
        le=0.95,
        description="Dropout before the classifier; half of it after each stage.",
    )
    weight_decay: float = Field(
        0.0, ge=0, le=1, description="Decoupled for adamw, L2 in the gradient for adam and sgd."
    )
    augment: Augmentation = Field("none", description="Training augmentation policy.")
    epochs: int = Field(20, ge=1, le=10_000, description="Passes over the training images.")
    seed: int = Field(0, ge=0, le=2**31 - 1, description="Seeds weights, order and augmentation.")
    train_size: int = Field(
        0, ge=0, description="Stratified number of training images; 0 takes all of them."
    )
    optimizer: Optimizer = Field("adam", description="sgd uses Nesterov momentum 0.9.")
    label_smoothing: float = Field(
        0.0, ge=0, le=0.5, description="In the optimised loss only; logged losses are plain."
    )
    lr_schedule: LrSchedule = Field("constant", description="cosine falls to 0 over the epochs.")

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Any], *, where: str) -> TrainConfig:
        """Check the parameters of one trial.

        Args:
            parameters: Name to value; names we do not know are an error, those starting with ``_`` or
                ``wandb`` are the client's own and ignored.
            where: Names the source in messages, such as a file or a run path.

        Raises:
            ConfigError: With every problem, each naming the parameter and the fix.
        """
        ours = {k: v for k, v in parameters.items() if not k.startswith(("_", "wandb"))}
        problems = [unknown_parameter(name, where) for name in ours if name not in cls.model_fields]
        known = {k: v for k, v in ours.items() if k in cls.model_fields}
        for name, value in known.items():
            problem = value_problem(name, value)
            if problem:
                problems.append(f"{where}: {name}: {problem}")
        if problems:
            raise ConfigError(problems)
        return cls(**known)


def unknown_parameter(name: str, where: str) -> str:
    """The message for a hyperparameter that does not exist, with the nearest one as a suggestion."""
    close = difflib.get_close_matches(name, TrainConfig.model_fields, n=1, cutoff=0.4)
    alias = _ALIASES.get(name.lower().replace("-", "_"))
    suggestion = alias or (close[0] if close else None)
    hint = f"Did you mean {suggestion}? " if suggestion else ""
    known = ", ".join(sorted(TrainConfig.model_fields))
    return f"{where}: {name}: no such hyperparameter. {hint}Known: {known}."


_ALIASES = {
    "lr": "learning_rate",
    "bs": "batch_size",
    "batch": "batch_size",
    "wd": "weight_decay",
    "l2": "weight_decay",
    "drop": "dropout",
    "p": "dropout",
    "aug": "augment",
    "augmentation": "augment",
    "model": "arch",
    "architecture": "arch",
    "n_epochs": "epochs",
    "num_epochs": "epochs",
    "opt": "optimizer",
}


def value_problem(name: str, value: Any) -> str | None:
    """What is wrong with one value of one known hyperparameter, or None.

    Example:
        >>> value_problem("dropout", 0.3)
        >>> value_problem("dropout", 1.5)
        'must be at most 0.95 (got 1.5).'
        >>> value_problem("learning_rate", "1e-4")
        "must be a number (got the text '1e-4'). YAML reads 1e-4 as text: write 0.0001 or 1.0e-4."
    """
    field = TrainConfig.model_fields[name]
    numeric = field.annotation in (int, float)
    if numeric and isinstance(value, str):
        return _text_for_number(value)
    if numeric and isinstance(value, bool):
        return f"must be a number (got {value})."
    try:
        TrainConfig(**{name: value})
    except ValidationError as error:
        return _explain(error.errors()[0], value)
    return None


def _text_for_number(value: str) -> str:
    try:
        number = float(value)
    except ValueError:
        return f"must be a number (got the text {value!r})."
    plain = f"{number:.10f}".rstrip("0").rstrip(".") if abs(number) < 1 else f"{number:g}"
    mantissa, _, exponent = value.lower().partition("e")
    yaml_form = f" or {mantissa}.0e{exponent}" if exponent and "." not in mantissa else ""
    reason = (
        f" YAML reads {value} as text: write {plain}{yaml_form}."
        if exponent
        else f" Write {plain}."
    )
    return f"must be a number (got the text {value!r}).{reason}"


def _explain(error: Any, value: Any) -> str:
    context = error.get("ctx", {})
    match error["type"]:
        case "literal_error":
            return f"must be one of {context['expected'].replace(chr(39), '')} (got {value!r})."
        case "greater_than":
            return f"must be greater than {context['gt']:g} (got {value})."
        case "greater_than_equal":
            return f"must be at least {context['ge']:g} (got {value})."
        case "less_than_equal":
            return f"must be at most {context['le']:g} (got {value})."
        case "int_from_float" | "int_type":
            return f"must be a whole number (got {value!r})."
        case _:
            return f"{error['msg'].lower()} (got {value!r})."
