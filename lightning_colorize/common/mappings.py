"""Mappings in YAML files."""

from pathlib import Path
from typing import Any

import yaml

from lightning_colorize.common.errors import UsageError, first_line

# libyaml's loader is ten times as fast, but not in every build of PyYAML.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_mapping(path: Path, key: str) -> dict[Any, Any]:
    """Return the mapping in a YAML file. A UsageError names the file, and an expected key."""
    try:
        text = path.read_text(encoding="utf-8")
        refuse_repeated_keys(text)
        content = yaml.load(text, _LOADER)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from None
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise UsageError(f"{path}: {line}{error.problem}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        # Characters that YAML does not allow, dates that do not exist, other encodings.
        raise UsageError(f"{path}: is not YAML ({first_line(error)})") from None
    if not isinstance(content, dict):
        raise UsageError(f"{path}: not a mapping; it has keys such as `{key}:`")
    return content


def refuse_repeated_keys(text: str) -> None:
    """Raise a MarkedYAMLError for repeated keys, of which PyYAML silently keeps the last."""
    _walk(yaml.compose(text, _LOADER))


def _walk(node: yaml.Node | None) -> None:
    seen = set()
    for item in node.value if isinstance(node, yaml.CollectionNode) else ():
        key, value = item if isinstance(item, tuple) else (None, item)
        # A key that `<<` merges in may be given again.
        if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
            if key.value in seen:
                problem = f"`{key.value}` appears twice; keep one"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            seen.add(key.value)
        _walk(value)
