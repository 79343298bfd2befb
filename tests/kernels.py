"""Run the numeric tests with the arithmetic of other processors: ATen's plain and AVX2 kernels, one and two threads.

``tox run -e kernels`` runs it; arguments are passed on to pytest.
"""

import itertools
import os
import subprocess
import sys
from pathlib import Path

KERNELS, THREADS = ("default", "avx2"), (1, 2)


def main(arguments: list[str]) -> int:
    """Run the tests once for each; the exit code is the number of runs that failed."""
    folder = Path(__file__).parent
    options = ["--rootdir", folder.parent, "-c", folder.parent / "pyproject.toml", "-m", "not slow"]
    failed = []
    for kernel, n_threads in itertools.product(KERNELS, THREADS):
        print(f"--- kernels: {kernel}, threads: {n_threads}", flush=True)
        variables = {**os.environ, "ATEN_CPU_CAPABILITY": kernel, "OMP_NUM_THREADS": str(n_threads)}
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-n",
            str(2 // n_threads),
            *options,
            *(arguments or [folder / "estimators"]),
        ]
        if subprocess.run(command, env=variables, check=False).returncode:
            failed.append(f"{kernel} kernels with {n_threads} threads")
    print("Failed with", ", ".join(failed) if failed else "none of them", flush=True)
    return len(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
