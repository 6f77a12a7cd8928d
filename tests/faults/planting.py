"""Changes of a function's syntax tree, made while its module is imported.

A fault names a function, not a line: code may be formatted, moved within its file and commented
without touching the catalog.
"""

import ast
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from typing import Any

Change = Callable[[ast.AST], bool]
"""Changes the tree of a function, class or module in place; returns whether anything changed."""

Rows = dict[str, dict[str, tuple[str, Change]]]
"""Of the catalog: tests to the faults that they must detect, by name: target and change."""


@dataclass(frozen=True)
class Fault:
    """A possible mistake in the package.

    `target` is `package.module:function`, `:Class.method`, or `:` for the whole module; the scripts
    of benchmarks/ are in the package `benchmarks`. `tests` are relative to tests/.
    """

    name: str
    target: str
    change: Change
    tests: tuple[str, ...]

    @property
    def module(self) -> str:
        module = self.target.partition(":")[0]
        name = module.removeprefix("benchmarks.")  # in the path of pytest
        return f"lightning_colorize.{module}" if name == module else name

    def plant(self, source: bytes | str) -> ast.Module:
        """Return the module's syntax tree with the fault.

        Raises:
            LookupError: If the function does not exist, or the change does not apply.
        """
        tree = ast.parse(source)
        node: ast.AST = tree
        path = self.target.partition(":")[2]
        for name in filter(None, path.split(".")):
            matches = [child for child in getattr(node, "body", []) if _name(child) == name]
            if not matches:
                raise LookupError(f"{self.name}: {self.target} does not exist")
            node = matches[-1]
        if not self.change(node):
            raise LookupError(f"{self.name}: its change does not apply to {self.target}")
        return ast.fix_missing_locations(tree)


def returns(expression: str) -> Change:
    """Replace the body of a function by one that returns an expression of its arguments."""

    def change(node: ast.AST) -> bool:
        assert isinstance(node, ast.FunctionDef)
        node.body = ast.parse(f"def f():\n    return {expression}").body[0].body  # type: ignore
        return True

    return change


def swap(old: str, new: str) -> Change:
    """Replace each occurrence of an expression or statement by another; `pass` deletes it."""
    before, after = ast.parse(old).body[0], ast.parse(new).body[0]
    is_expression = isinstance(before, ast.Expr) and isinstance(after, ast.Expr)
    wanted = ast.dump(before.value if is_expression else before)

    class Swap(ast.NodeTransformer):
        count = 0

        def visit(self, node: ast.AST) -> Any:
            if _dump(node) == wanted:
                self.count += 1
                return ast.parse(new).body[0].value if is_expression else ast.parse(new).body
            return self.generic_visit(node)

    def change(node: ast.AST) -> bool:
        transformer = Swap()
        transformer.generic_visit(node)
        return transformer.count > 0

    return change


def calls(function: str, result: str) -> Change:
    """Replace each call of a function or method, by its last name (`clamp` for `x.clamp()` too).

    In `result`, `it` is the object or the first argument of the call.
    """

    class Call(ast.NodeTransformer):
        count = 0

        def visit_Call(self, node: ast.Call) -> Any:
            self.generic_visit(node)
            called = node.func
            name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
            if name != function:
                return node
            self.count += 1
            is_method = isinstance(called, ast.Attribute) and not (
                isinstance(called.value, ast.Name) and called.value.id in _MODULES
            )
            it = called.value if is_method else node.args[0] if node.args else None  # type: ignore
            replacement = ast.parse(result, mode="eval").body
            return _Put(it).visit(replacement)

    def change(node: ast.AST) -> bool:
        transformer = Call()
        transformer.generic_visit(node)
        return transformer.count > 0

    return change


_MODULES = {"torch", "np", "math", "functional", "F", "os", "kornia", "json", "yaml", "random"}


class _Put(ast.NodeTransformer):
    def __init__(self, it: ast.expr | None) -> None:
        self.it = it

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self.it if node.id == "it" and self.it is not None else node


def _name(node: ast.AST) -> str | None:
    return node.name if isinstance(node, ast.FunctionDef | ast.ClassDef) else None


def _dump(node: ast.AST) -> str:
    return ast.dump(node) if isinstance(node, ast.expr | ast.stmt) else ""


class _FaultLoader(SourceFileLoader):
    def __init__(self, fault: Fault, path: str) -> None:
        super().__init__(fault.module, path)
        self.fault = fault

    def get_code(self, fullname: str) -> Any:
        """Compile the changed tree; never from or into __pycache__."""
        path = self.get_filename(fullname)
        return compile(self.fault.plant(self.get_data(path)), path, "exec")


class _Finder(MetaPathFinder):
    def __init__(self, fault: Fault) -> None:
        self.fault = fault

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Return the module's usual specification with a loader that plants the fault."""
        if name != self.fault.module:
            return None
        spec = PathFinder.find_spec(name, path, target)
        assert spec is not None
        assert spec.origin is not None
        loader: Loader = _FaultLoader(self.fault, spec.origin)
        spec.loader = loader
        return spec


def install(name: str) -> None:
    """Plant a fault of the catalog in this process; its module must not be imported yet."""
    from faults.catalog import FAULTS

    fault = next(fault for fault in FAULTS if fault.name == name)
    assert fault.module not in sys.modules
    sys.meta_path.insert(0, _Finder(fault))
