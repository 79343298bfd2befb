"""``python -m forgetless`` is the command ``forgetless``."""

from .benchmarks.command import main

if __name__ == "__main__":
    main()
