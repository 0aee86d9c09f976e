"""Inner problems, one file each: energies, losses, models and their meta-parameters."""
