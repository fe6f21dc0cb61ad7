"""Sweep files: W&B's YAML read and written."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import yaml

from fer_sweep.errors import ConfigError
from fer_sweep.space.number import number_text, parse_number


def load_sweep(path: Path) -> dict[str, Any]:
    """Read a sweep file; what it says is checked by ``lint``.

    Raises:
        ConfigError: If the file is missing, unreadable, not YAML, or no mapping; with file and line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        near = ", ".join(sorted(str(other) for other in path.parent.glob("*.yaml"))[:15])
        hint = f"There are: {near}." if near else "Check the path."
        raise ConfigError(f"{path}: no such file. {hint}") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"{path}: cannot be read ({reason}). Give a YAML file.") from error
    try:
        config = yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        raise ConfigError(
            f"{path}{line}: not valid YAML ({error.problem}). Fix that line."
        ) from error
    except (yaml.YAMLError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{path}: not valid YAML ({reason}).") from error
    if not isinstance(config, dict):
        got = "an empty file" if config is None else f"a {type(config).__name__}"
        raise ConfigError(
            f"{path}: must be a mapping (got {got}). Start with method: and parameters:."
        )
    return config


def dump_sweep(config: Mapping[str, Any], *, comment: str = "") -> str:
    """Write a sweep config as YAML that W&B's server, ``wandb sweep`` and people read alike.

    Numbers come out plain, as ``0.0001``: some readers take ``1e-4`` for a number and PyYAML takes it
    for text. Text that looks like a number is quoted.

    Args:
        config: The sweep config.
        comment: Put before it, each line as a ``#`` comment.

    Example:
        >>> print(dump_sweep({"parameters": {"learning_rate": {"values": [1e-4, 3e-4]}}}, comment="Why"), end="")
        # Why
        parameters:
          learning_rate:
            values: [0.0001, 0.0003]
    """
    header = "".join(f"# {line}".rstrip() + "\n" for line in comment.splitlines())
    return header + yaml.dump(
        dict(config), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000
    )


class _Loader(yaml.SafeLoader):
    """Refuses a key given twice, of which YAML would silently keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge" or not isinstance(
                key_node, yaml.ScalarNode
            ):
                continue
            if key_node.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key_node.value} is there twice", key_node.start_mark
                )
            seen.add(key_node.value)
        return super().construct_mapping(node, deep=deep)


class _Dumper(yaml.SafeDumper):
    """Plain decimals, lists of scalars on one line, no anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_float(dumper: yaml.SafeDumper, value: float) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:float", number_text(value))


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "'" if parse_number(text) is not None else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


def _represent_list(
    dumper: yaml.SafeDumper, items: list[Any] | tuple[Any, ...]
) -> yaml.SequenceNode:
    flat = not any(isinstance(item, list | tuple | Mapping) for item in items)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=flat)


_Dumper.add_representer(float, _represent_float)
_Dumper.add_representer(str, _represent_text)
_Dumper.add_representer(list, _represent_list)
_Dumper.add_representer(tuple, _represent_list)
