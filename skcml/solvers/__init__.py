"""Inner solvers, one file each: the minimum of the augmented energy over phi."""
