"""Mappings in YAML files."""

import yaml


def refuse_repeated_keys(text: str) -> None:
    """Raise a MarkedYAMLError for repeated keys, of which PyYAML silently keeps the last."""
    _walk(yaml.compose(text, Loader=yaml.SafeLoader))


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
