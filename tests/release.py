"""Build what is released into ``dist`` and check it as a stranger would; ``tox run -e release`` runs this.

The tag of the commit, if it has one, is ``v`` and the version. Wheel and source distribution pass ``twine check``. The
wheel works in an empty environment. In the unpacked source distribution, the commands of the README do what it says:
the start and the tests, which take minutes (``--without-readme`` leaves them out).
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
DIST = ROOT / "dist"
FIRST_STEPS = """
from forgetless.datasets import load_digits, split_stream
from forgetless.estimators import ReplayClassifier

clf = ReplayClassifier(random_state=0)
for experience in list(split_stream(load_digits(), random_state=0))[:2]:
    clf.partial_fit(experience.X_train, experience.y_train)
assert len(clf.classes_) == 4
"""


def run(*command, cwd):
    """Run a command, in an environment that knows nothing of this one."""
    print("$", *command, flush=True)
    ours = ("PYTHON", "VIRTUAL_ENV", "TOX", "COVERAGE")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    subprocess.run(command, cwd=cwd, env=environment, check=True)


def check_tag(version):
    """A commit with a tag of a version has that of this version."""
    told = subprocess.run(["git", "tag", "--points-at", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    tags = [tag for tag in told.stdout.split() if re.fullmatch(r"v\d.*", tag)]
    if tags and tags != [f"v{version}"]:
        sys.exit(f"The commit has the tag {', '.join(tags)}, but __init__.py says {version}.")


def check_wheel(wheel, folder):
    """The wheel works in an environment that has nothing else, outside the checkout."""
    venv.create(folder / "empty", with_pip=True)
    python = folder / "empty" / ("Scripts" if os.name == "nt" else "bin") / "python"
    run(python, "-m", "pip", "install", "-q", "-c", ROOT / "constraints.txt", wheel, cwd=folder)
    command = python.with_name("forgetless")
    run(command, "--version", cwd=folder)
    run(command, "list", "suites", cwd=folder)
    run(python, "-c", FIRST_STEPS, cwd=folder)


def check_sdist(sdist, folder):
    """The README's commands do what it says in the unpacked source distribution."""
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    unpacked = folder / sdist.name.removesuffix(".tar.gz")
    commands = re.findall(r"^python3 -m venv .*tox run.*$", (unpacked / "README.md").read_text("utf-8"), re.MULTILINE)
    if len(commands) != 2:
        sys.exit(f"The README has {len(commands)} commands that run tox, not 2.")
    for command in commands:
        run("bash", "-euc", command, cwd=unpacked)


def main():
    """Build and check."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--without-readme", action="store_true", help="do not run the commands of the README")
    options = parser.parse_args()
    version = re.search(r'__version__ = "(.+)"', (ROOT / "__init__.py").read_text("utf-8"))[1]
    check_tag(version)
    shutil.rmtree(DIST, ignore_errors=True)
    run(sys.executable, "-m", "build", "--outdir", DIST, ROOT, cwd=ROOT)
    sdist, wheel = DIST / f"forgetless-{version}.tar.gz", DIST / f"forgetless-{version}-py3-none-any.whl"
    run(sys.executable, "-m", "twine", "check", "--strict", sdist, wheel, cwd=ROOT)
    with tempfile.TemporaryDirectory() as folder:
        check_wheel(wheel, Path(folder))
        if not options.without_readme:
            check_sdist(sdist, Path(folder))
    print(f"forgetless {version} is ready in {DIST}.")


if __name__ == "__main__":
    main()
