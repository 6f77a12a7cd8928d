"""YAML whose mappings say nothing twice; PyYAML keeps the last of two equal keys in silence."""

from pathlib import Path
from typing import Any

import yaml

from lightning_colorize.common.errors import UsageError

_MERGE = "tag:yaml.org,2002:merge"


class _Loader(yaml.SafeLoader):
    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        # Before `<<` is merged in, whose keys may be given again on purpose.
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if key.tag != _MERGE and isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    problem = f"`{key.value}` is there twice; keep one"
                    raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
                seen.add(key.value)
        return node


def read_yaml(path: Path) -> dict[Any, Any]:
    """Return a YAML file's mapping.

    Raises:
        UsageError: If the file cannot be read, is not YAML, is no mapping, or has a key twice.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); give a sweep file") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path}: is not UTF-8 text; give a sweep file") from None
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise UsageError(f"{path}: {line}{error.problem}") from None
    except (yaml.YAMLError, ValueError) as error:
        # Characters that no YAML has, dates that no calendar has.
        raise UsageError(f"{path}: is not YAML ({str(error).splitlines()[0]})") from None
    if not isinstance(content, dict):
        raise UsageError(f"{path}: is no mapping; a sweep file begins with keys such as `method:`")
    return content
