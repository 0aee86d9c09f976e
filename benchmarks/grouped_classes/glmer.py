"""glmer of the R package lme4, in a process of its own; tables travel as CSV files."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.grouped.protocol import Rows

_GLMER = """
if (!requireNamespace("lme4", quietly = TRUE)) quit(status = 3)
folder <- commandArgs(trailingOnly = TRUE)[1]
rows <- read.csv(file.path(folder, "rows.csv"))
columns <- setdiff(names(rows), c("y", "group"))
formula <- reformulate(c(columns, "(1 | group)"), response = "y")
fit <- lme4::glmer(formula, data = rows, family = binomial)
found <- c(attr(lme4::VarCorr(fit)$group, "stddev"), lme4::fixef(fit, add.dropped = TRUE))
writeLines(format(found, digits = 17), file.path(folder, "found.txt"))
"""


def estimate(train: Rows) -> tuple[np.ndarray, float]:
    """Return the coefficients of [1, X] and the standard deviation of the random intercept."""
    if shutil.which("Rscript") is None:
        raise ImportError("there is no Rscript on the path")
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        header = ",".join(["y", "group", *(f"x{column}" for column in range(train.X.shape[1]))])
        table = np.column_stack([train.y, train.groups, train.X])
        np.savetxt(folder / "rows.csv", table, "%.17g", ",", header=header, comments="")
        (folder / "glmer.R").write_text(_GLMER)
        run = subprocess.run(
            ["Rscript", "--vanilla", folder / "glmer.R", folder], capture_output=True, text=True
        )
        if run.returncode == 3:
            raise ImportError("the R package lme4 is not installed")
        if run.returncode != 0:
            raise ValueError(f"glmer failed: {run.stderr.strip().splitlines()[-1:]}")
        sd, *beta = np.genfromtxt(folder / "found.txt")
    # a column that glmer dropped as a combination of others comes back as NA
    return np.nan_to_num(beta), float(sd)
