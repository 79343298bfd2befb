"""Change the code of the estimators here and there, and count which changes the tests find: a mutation score.

``tox run -e mutation`` runs it; ``-- --n-mutants 200 --seed 1`` takes another sample. A mutant is one changed operator,
comparison or constant within a function of ``estimators/``. It is killed if a test that passes without it fails, or
takes too long; each that survives is printed, and is a test that is missing or a change that changes nothing.
"""

import argparse
import ast
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any

ROOT = Path(__file__).parents[1]
OTHER = {
    **{ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq},
    **{ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.And: ast.Or, ast.Or: ast.And},
    **{ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult},
    **{ast.Mod: ast.Mult, ast.Pow: ast.Mult, ast.MatMult: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd},
}
# Tests of what has no folder of its own, and a method on which the battery is run for it.
SHARED = [
    "engine",
    "replay/test_memory.py",
    "test_definitions.py",
    "test_strategy.py",
    "test_pipeline.py",
    "regularization",
]
SHARED_SUBJECT = "EWCClassifier"


def places(tree: ast.AST) -> Iterator[ast.AST]:
    """Nodes in the bodies of functions that can be changed."""
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef):
            # Not defaults and annotations; and of nested functions, which ast.walk finds, nothing twice.
            for statement in function.body:
                if not isinstance(statement, ast.FunctionDef):
                    yield from _places_of(statement)


def _places_of(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.Raise() | ast.Assert() | ast.FunctionDef() | ast.Expr(value=ast.Constant()):
            return  # messages, what is there for type checkers, docstrings
        case ast.keyword(arg="strict" | "stacklevel"):
            return  # a guard against mistakes of ours; where a warning points
        case ast.BinOp() | ast.BoolOp() | ast.AugAssign() if type(node.op) in OTHER:
            yield node
        case ast.Compare(ops=[operator]) if type(operator) in OTHER:
            yield node
        case ast.Constant(value=bool() | int() | float()):
            yield node
    for name, value in ast.iter_fields(node):
        if name != "annotation":
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from _places_of(child)


def mutate(source: str, k: int) -> tuple[str, str]:
    """The source with its k-th place changed, and what was changed, in words."""
    tree = ast.parse(source)
    node: Any = list(places(tree))[k]
    before = ast.unparse(node)
    match node:
        case ast.Compare():
            node.ops = [OTHER[type(node.ops[0])]()]
        case ast.Constant(value=bool()):
            node.value = not node.value
        case ast.Constant():
            node.value += 1
        case _:
            node.op = OTHER[type(node.op)]()
    return ast.unparse(tree), f"line {node.lineno}: {before}  ->  {ast.unparse(node)}"


def commands(path: Path) -> Iterator[list[str]]:
    """The tests of a module, as arguments of pytest: those near it, the battery on its classes, and who names it."""
    tests, family = Path("tests/estimators"), path.parent.name
    own = [family, "test_definitions.py"] if (ROOT / tests / family).is_dir() and family != "engine" else SHARED
    yield [str(tests / name) for name in [f"test_{path.stem}.py", *own] if (ROOT / tests / name).exists()]
    source = (ROOT / path).read_text("utf-8")
    folder = "\n".join(module.read_text("utf-8") for module in sorted((ROOT / path).parent.glob("*.py")))
    kind = re.compile(r"^class (\w+(?:Classifier|Regressor))\b", re.MULTILINE)
    subjects = [SHARED_SUBJECT] if own is SHARED else kind.findall(source) or kind.findall(folder)
    if subjects:
        yield [str(tests / "test_common.py"), "-k", " or ".join(f"{name}-" for name in subjects)]
    known = {*re.findall(r"^(?:class|def) ([a-zA-Z]\w+)", source, re.MULTILINE), f".{path.stem} "}
    texts = {test.relative_to(ROOT): test.read_text("utf-8") for test in (ROOT / tests).rglob("test_*.py")}
    others = [test for test, text in texts.items() if any(re.search(rf"\b{re.escape(n)}\b", text) for n in known)]
    ignored = [f"--ignore={tests / name}" for name in ["test_common.py", *own]]
    if others:
        yield [*map(str, sorted(others)), *ignored]


def pytest_in(folder: Path, arguments: list[str], limit: float) -> subprocess.CompletedProcess[str]:
    """Run tests on the package in a folder."""
    variables = {**os.environ, "PYTHONPATH": str(folder), "PYTHONSAFEPATH": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    options = ["-q", "-p", "no:cacheprovider", "-m", "not slow", "--tb=no"]
    command = [sys.executable, "-m", "pytest", *options, *arguments]
    where = folder / "forgetless"
    return subprocess.run(command, cwd=where, env=variables, timeout=limit, capture_output=True, text=True, check=False)


def copy_of_package(folder: Path) -> Path:
    """Copy the package with its tests into a folder, so that it is the one that is imported."""
    ignored = shutil.ignore_patterns(".*", "__pycache__", "*.db", "*.html")
    shutil.copytree(ROOT, folder / "forgetless", ignore=ignored)
    return folder


def survives(folder: Path, pristine: Path, path: Path, k: int, limit: float) -> bool:
    """Whether all tests that pass without a mutant pass with it."""
    source = (ROOT / path).read_text("utf-8")
    (folder / "forgetless" / path).write_text(mutate(source, k)[0], "utf-8")
    try:
        return not any(kills(folder, pristine, arguments, limit) for arguments in commands(path))
    except subprocess.TimeoutExpired:
        return False
    finally:
        (folder / "forgetless" / path).write_text(source, "utf-8")


def kills(folder: Path, pristine: Path, arguments: list[str], limit: float) -> bool:
    """Whether one of the tests fails in the folder that passes in the pristine one."""
    red: list[str] = []  # tests that fail without any mutant, too
    while True:
        without = [f"--deselect={name}" if "::" in name else f"--ignore={name}" for name in red]
        done = pytest_in(folder, ["-x", "-rfE", *arguments, *without], limit)
        if done.returncode in (0, 5):  # all pass, or there are none
            return False
        failed = re.findall(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", done.stdout, re.MULTILINE)
        if not failed:  # no test could be found, or pytest itself could not start
            return True
        if pytest_in(pristine, failed, limit).returncode == 0:
            return True
        red += failed


def main() -> None:
    """Print the score of a sample, and the mutants that survive."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n-mutants", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--n-jobs", type=int, default=2)
    parser.add_argument("--limit", type=float, default=1800.0, help="seconds for the tests of a mutant")
    options = parser.parse_args()
    paths = [path.relative_to(ROOT) for path in sorted((ROOT / "estimators").rglob("*.py")) if path.stem != "__init__"]
    sources = {path: (ROOT / path).read_text("utf-8") for path in paths}
    every = [(path, k) for path in paths for k in range(len(list(places(ast.parse(sources[path])))))]
    sample = random.Random(options.seed).sample(every, min(options.n_mutants, len(every)))
    with tempfile.TemporaryDirectory() as home, ThreadPoolExecutor(options.n_jobs) as pool:
        free: SimpleQueue[Path] = SimpleQueue()
        pristine = copy_of_package(Path(home, "pristine"))
        if pytest_in(pristine, ["--collect-only", "tests/estimators"], 3600).returncode:
            sys.exit("The tests cannot be collected, with no mutant either: run them first.")
        for job in range(options.n_jobs):
            free.put(copy_of_package(Path(home, str(job))))

        def judge(mutant: tuple[Path, int]) -> bool:
            folder = free.get()
            try:
                survived = survives(folder, pristine, *mutant, options.limit)
            finally:
                free.put(folder)
            path, k = mutant
            print("survived" if survived else "killed  ", path, mutate(sources[path], k)[1], flush=True)
            return survived

        n_survivors = sum(pool.map(judge, sample))
    n_killed = len(sample) - n_survivors
    print(f"{n_killed} of {len(sample)} mutants killed ({n_killed / len(sample):.0%}); {len(every)} places in all.")


if __name__ == "__main__":
    main()
