"""
Save a model, and share it
==========================

Learning takes seconds and many groups, adapting takes neither. So learn once, and give others
what was learned: a folder without a row of the data in it, which runs no code when it is loaded.
"""

# %%
# Learn from eighteen boys
# ------------------------
# Heights of 26 boys from Oxford, nine each, over five years; age is centred and scaled.

import tempfile
import textwrap
from pathlib import Path

import numpy as np
from sklearn.base import clone

from skcml import CMLRegressor
from skcml.datasets import load_grouped
from skcml.inspection import AdaptationDisplay

age, height, boy = load_grouped("Oxboys", return_X_y=True)
boy = boy.rename("boy")
known = boy <= 18
est = CMLRegressor(support="first", meta_max_iter=200, random_state=0)
est.meta_fit(age[known], height[known], groups=boy[known])

# %%
# What the folder holds
# ---------------------
# Arrays in safetensors, all else in text that one can read, and a card.

folder = Path(tempfile.mkdtemp()) / "heights-of-boys"
est.save_pretrained(folder)
for path in sorted(folder.iterdir()):
    print(f"{path.stat().st_size:8,} bytes  {path.name}")

# %%
print((folder / "README.md").read_text())

# %%
# Somewhere else
# --------------
# `from_pretrained` gives the same bits. An estimator that has been adapted is saved with what
# `fit` made of its rows, from which those of a boy of whom there were two could be worked out: to
# pass on what `meta_fit` learned alone, save a clone.

loaded = CMLRegressor.from_pretrained(folder)
early = ~known & (age["age"] < -0.3)
predicted = [
    model.fit(age[early], height[early], groups=boy[early]).predict(age[~known], groups=boy[~known])
    for model in (est, loaded)
]
print(f"the same bits: {np.array_equal(*predicted)}")

clone(loaded).save_pretrained(folder)  # replaces what was there

# %%
# Six other boys, by the model that was loaded
# --------------------------------------------

later = ~known & ~early
_ = AdaptationDisplay.from_estimator(
    loaded,
    age[early],
    height[early],
    boy[early],
    X_query=age[later],
    y_query=height[later],
    groups_query=boy[later],
    n_tasks=6,
)

# %%
# A file that was changed
# -----------------------
# Sizes, checksums, types and shapes are looked at before anything is made of them.

config = folder / "config.json"
config.write_text(config.read_text().replace('"prior_strength": 1.0', '"prior_strength": 2.0'))
try:
    CMLRegressor.from_pretrained(folder)
except ValueError as error:
    print(textwrap.fill(str(error).replace(str(folder), folder.name), 80))
