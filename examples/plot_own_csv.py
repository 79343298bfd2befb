"""
From a CSV file to an answer
============================

A table of sales in three shops, one after the other: which strategy, if no row may be kept? ``compare`` looks at the
columns, says what it assumed, lets a first round choose, and judges the best few on rows that chose nothing. On the
command line it is ``forgetless compare sales.csv --target sold --by shop --no-raw-data``.
"""

from pathlib import Path
from tempfile import mkdtemp

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from forgetless.benchmarks import compare
from forgetless.reports import Constraints, plot_curves

rng = np.random.default_rng(0)
n = 300
sales = pd.DataFrame(
    {
        "shop": np.repeat(["north", "south", "harbour"], n),
        "price": rng.uniform(1, 9, 3 * n).round(2),
        "weekday": rng.choice(["mon", "tue", "wed", "thu", "fri"], 3 * n),
    }
)
limit = sales["shop"].map({"north": 4.0, "south": 6.0, "harbour": 5.0})
sales["sold"] = np.where(sales["price"] + rng.normal(0, 0.5, 3 * n) < limit, "yes", "no")
path = Path(mkdtemp(), "sales.csv")
sales.to_csv(path, index=False)

# %%
# The answer
# ----------

found = compare(path, "sold", by="shop", constraints=Constraints(no_raw_data=True), n_jobs=1, progress=False)
print(found)

# %%
# What was assumed
# ----------------

print("\n".join(found.assumptions))

# %%
# The finalists
# -------------
#
# ``found.write_html("report.html")`` writes the whole report.

plot_curves(found.results)
plt.show()
