"""Make the picture of the README from the code that stands there: ``python docs/first_result.py``."""

import re
from pathlib import Path

HERE = Path(__file__).parent


def main():
    """Run the first block of code of the README and save its figure."""
    readme = (HERE.parent / "README.md").read_text("utf-8")
    [code] = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    names = {}
    exec(code, names)
    figure = names["plot_curves"](names["results"]).figure
    figure.set_size_inches(8, 3.6)
    figure.savefig(HERE / "images" / "first_result.png", dpi=110, bbox_inches="tight")


if __name__ == "__main__":
    main()
