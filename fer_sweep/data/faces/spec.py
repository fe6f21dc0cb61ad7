"""What the user may choose about procedural faces: ``faces:n=6000,seed=0,difficulty=.6``."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from fer_sweep.errors import DataError

PREFIX = "faces"


def _knob(default: float, low: float, high: float, meaning: str) -> Any:
    return field(default=default, metadata={"low": low, "high": high, "meaning": meaning})


@dataclass(frozen=True)
class FaceSpec:
    """The knobs of a procedural set; the same spec always gives the same bytes.

    Fractions are in [0, 1]. Raises ``DataError`` when made with values out of range.
    """

    n: int = _knob(6000, 10, 1_000_000, "images of all splits, 80/10/10 like FER2013")
    seed: int = _knob(0, 0, 2**31 - 1, "another seed, other faces")
    difficulty: float = _knob(
        0.6, 0, 1.5, "pose, light and mixed expressions; 0 is frontal and clean"
    )
    label_noise: float = _knob(0.12, 0, 0.5, "fraction of wrong labels; FER2013 has more than .1")
    duplicates: float = _knob(0.02, 0, 0.5, "fraction of each split that copies a training image")
    occlusion: float = _knob(
        0.12, 0, 1, "fraction of faces behind a hand, bar, watermark or fringe"
    )
    intensity: float = _knob(0.9, 0.1, 1.2, "mean strength of the expressions")
    ambiguity: float = _knob(0.4, 0, 1, "share of a confusable second expression at difficulty 1")
    n_ident: int = _knob(0, 0, 1_000_000, "number of different people; 0 makes everyone different")
    blank: float = _knob(0.0003, 0, 0.5, "fraction of all-black images")
    non_faces: float = _knob(0.005, 0, 0.5, "fraction of images without a face")

    def __post_init__(self) -> None:
        problems = [
            f"{PREFIX}: {knob.name}: must be between {knob.metadata['low']} and {knob.metadata['high']} "
            f"(got {getattr(self, knob.name)})."
            for knob in fields(self)
            if not knob.metadata["low"] <= getattr(self, knob.name) <= knob.metadata["high"]
        ]
        if problems:
            raise DataError("\n".join(problems))

    def __str__(self) -> str:
        """The shortest text that ``parse_spec`` reads back: knobs at their default are left out.

        Example:
            >>> str(FaceSpec(n=500, difficulty=0.4))
            'faces:n=500,seed=0,difficulty=0.4'
        """
        chosen = [
            f"{knob.name}={getattr(self, knob.name)}"
            for knob in fields(self)
            if knob.name in ("n", "seed") or getattr(self, knob.name) != knob.default
        ]
        return f"{PREFIX}:{','.join(chosen)}"


def is_spec(data: str) -> bool:
    """Tell a request for procedural faces from a path.

    Example:
        >>> is_spec("faces:n=100"), is_spec("faces"), is_spec("faces/train"), is_spec("faces.csv")
        (True, True, False, False)
    """
    return data == PREFIX or data.startswith(f"{PREFIX}:")


def parse_spec(text: str) -> FaceSpec:
    """Read ``faces`` or ``faces:knob=value,…``.

    Raises:
        DataError: With every unknown knob and unreadable value, and the known knobs.

    Example:
        >>> parse_spec("faces:n=4000, difficulty=.5").difficulty
        0.5
    """
    knobs = {knob.name: knob for knob in fields(FaceSpec)}
    values: dict[str, Any] = {}
    problems = []
    for item in filter(None, (part.strip() for part in text.partition(":")[2].split(","))):
        name, equals, value = (part.strip() for part in item.partition("="))
        if name not in knobs:
            problems.append(f"{text}: {name}: no such knob.")
        elif not equals:
            problems.append(f"{text}: {name}: has no value. Write {name}={knobs[name].default}.")
        elif name in values:
            problems.append(f"{text}: {name}: given twice.")
        else:
            whole = isinstance(knobs[name].default, int)
            try:
                values[name] = int(value) if whole else float(value)
            except ValueError:
                kind = "a whole number" if whole else "a number"
                problems.append(f"{text}: {name}: must be {kind} (got {value!r}).")
    if problems:
        raise DataError("\n".join([*problems, f"Known knobs: {describe_knobs()}."]))
    return FaceSpec(**values)


def describe_knobs() -> str:
    """All knobs with their defaults and meanings, for messages and help."""
    return "; ".join(
        f"{knob.name}={knob.default} ({knob.metadata['meaning']})" for knob in fields(FaceSpec)
    )
