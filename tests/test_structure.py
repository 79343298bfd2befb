"""The structure of the package, read from its syntax trees: who imports whom, and who uses whose private names."""

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PARTS = ("benchmarks", "datasets", "estimators", "reports")
HELPERS = "helpers"
ENGINE = "engine"

FILES = sorted(
    path
    for pattern in ("*.py", *(f"{part}/**/*.{suffix}" for part in PARTS for suffix in ("py", "pyi")))
    for path in ROOT.glob(pattern)
)
# What stands in no package, such as programs that measure speed, is no part of forgetless.
MODULES = [path for path in FILES if (path.parent / "__init__.py").exists()]
TESTS = sorted((ROOT / "tests").rglob("*.py"))
FAMILIES = {path.parent.name for path in (ROOT / "estimators").glob("*/__init__.py")} - {ENGINE, "pretrained"}
OTHERS_OF_TESTS = {path.stem for path in TESTS if HELPERS not in path.parts} | {
    path.parent.name for path in TESTS if path.parent.name not in ("tests", HELPERS)
}


def none_in(paths):
    """Make a function that finds what is wrong in a file a test that it finds nothing in these."""

    def as_test(find):
        def test():
            found = [f"{path.relative_to(ROOT)}, {what}" for path in paths for what in find(path)]
            assert not found, "\n".join(["", *found])

        return test

    return as_test


@cache
def tree_of(path):
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


# --- private names -----------------------------------------------------------------------------------------------

# Functions whose second argument is the name of an attribute, monkeypatch's among them.
BY_NAME = {"getattr", "setattr", "hasattr", "delattr", "attrgetter", "methodcaller"}


def is_private(name):
    # Between underscores stand protocols: Python's, and that of notebooks (_repr_html_).
    return name.startswith("_") and name != "_" and not name.endswith("_")


def defined_names(tree):
    """All names to which the module gives a meaning: by assignment, def, class, import ... as, or as ``self._x``."""
    names = set()
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
                names.add(name)
            case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name, ctx=ast.Store()):
                names.add(name)
            case ast.alias(asname=str(name)):
                names.add(name)
    return names


def used_names(tree):
    """Yield line and name of all attributes and imports, those that are given as text included."""
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(attr=name):
                yield node.lineno, name
            case ast.ImportFrom(module=module, names=aliases):
                for name in [*(module or "").split("."), *(alias.name for alias in aliases)]:
                    yield node.lineno, name
            case ast.Import(names=aliases):
                for alias in aliases:
                    for name in alias.name.split("."):
                        yield node.lineno, name
            case ast.Call(func=ast.Name(id=function) | ast.Attribute(attr=function), args=args) if function in BY_NAME:
                for arg in args:
                    if isinstance(arg, ast.Constant) and isinstance(arg.value, str):
                        for name in arg.value.split("."):
                            yield node.lineno, name


@cache
def own_private_names():
    """What libraries call private is theirs to say; here it is about our own."""
    return {name for path in MODULES for name in defined_names(tree_of(path)) if is_private(name)}


def foreign_private_names(tree, private):
    defined = defined_names(tree)
    return [f"line {line}: {name}" for line, name in used_names(tree) if name in private and name not in defined]


@none_in([*FILES, *TESTS])
def test_private_names_stay_in_their_module(path):
    return foreign_private_names(tree_of(path), own_private_names())


@pytest.mark.parametrize(
    "code",
    [
        "from .x import _y",
        "import x._y",
        "from x._y import z",
        "from x import y as z; z._w",
        "x._y = 1",
        "class A(B):\n    def f(self): return self._y",
        "class A(B):\n    def f(self): return super()._y()",
        "getattr(x, '_y')",
        "monkeypatch.setattr(x, '_y', 1)",
        "monkeypatch.setattr('x._y', 1)",
    ],
)
def test_private_names_of_others_are_found(code):
    assert foreign_private_names(ast.parse(code), private={"_y", "_w"})


@pytest.mark.parametrize(
    "code",
    [
        "def _f(): ...\nmodule._f",
        "class A:\n    _x = 1\nA._x",
        "class A:\n    _x: int\nA._x",
        "class A:\n    def __init__(self): self._x = 1\nother._x",
        "x.__class__.__name__",
        "_, y = x",
        "x.state_",
        "from x import y as _y; _y.z",
    ],
)
def test_private_names_of_the_module_are_its_own(code):
    assert foreign_private_names(ast.parse(code), private={"_f", "_x", "_y"}) == []


# --- imports within the package ----------------------------------------------------------------------------------


def imported(path, tree, root=ROOT):
    """Yield line and path of what a module imports relatively, as parts below the root of the package."""
    package = path.relative_to(root).parts[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            up = len(package) - (node.level - 1)
            assert up >= 0, f"{path}, line {node.lineno}: the import leaves the package"
            base = (*package[:up], *(node.module or "").split(".")) if node.module else package[:up]
            for alias in node.names:
                yield node.lineno, (*base, alias.name)


def lines(found):
    return [f"line {line}: {'.'.join(parts)}" for line, parts in found]


@none_in(MODULES)
def test_imports_within_the_package_are_relative(path):
    return [
        f"line {node.lineno}"
        for node in ast.walk(tree_of(path))
        if (isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").split(".")[0] == "forgetless")
        or (isinstance(node, ast.Import) and any(alias.name.split(".")[0] == "forgetless" for alias in node.names))
    ]


def part_of(path):
    parts = path.relative_to(ROOT).parts
    return parts[0] if len(parts) > 1 else ""


@none_in([path for path in MODULES if part_of(path) in ("datasets", "estimators", "reports")])
def test_only_benchmarks_imports_other_parts(path):
    found = [(line, parts) for line, parts in imported(path, tree_of(path)) if parts[0] != part_of(path)]
    # The version of the package is no part of it.
    return lines((line, parts) for line, parts in found if parts != ("__version__",))


@none_in([ROOT / "__init__.py"])
def test_the_package_itself_imports_nothing(path):
    return lines(imported(path, tree_of(path)))


def family_of(path):
    parts = path.relative_to(ROOT).parts
    return parts[1] if parts[0] == "estimators" and len(parts) > 2 else ""


@none_in([path for path in MODULES if family_of(path) == ENGINE])
def test_the_engine_knows_no_method(path):
    allowed = (("estimators", ENGINE), ("estimators", "parameters"))
    found = [(line, parts) for line, parts in imported(path, tree_of(path)) if parts[:2] not in allowed]
    return lines(found)


@none_in([path for path in MODULES if family_of(path) in FAMILIES])
def test_families_do_not_import_each_other(path):
    others = FAMILIES - {family_of(path)}
    found = [(line, parts) for line, parts in imported(path, tree_of(path)) if parts[1:2] and parts[1] in others]
    return lines(found)


def test_families_are_the_folders():
    assert FAMILIES == {
        "analytic",
        "baselines",
        "distillation",
        "isolation",
        "meta",
        "plasticity",
        "regularization",
        "replay",
    }


# --- imports of tests --------------------------------------------------------------------------------------------


@none_in(TESTS)
def test_tests_import_each_other_only_through_helpers(path):
    found = []
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ImportFrom):
            inside = path.parent.name == HELPERS and node.level == 1
            names = [] if inside else [f"{'.' * node.level}{node.module or ''}"]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        found += [
            f"line {node.lineno}: {name}"
            for name in names
            if name.startswith(".") or name.split(".")[0] in OTHERS_OF_TESTS
        ]
    return found
