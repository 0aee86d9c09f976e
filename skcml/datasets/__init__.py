"""Tasks to try meta-learning on: one made up, twelve real grouped tables. Nothing is downloaded."""

from skcml.datasets._grouped import load_grouped
from skcml.datasets._sinusoid import make_sinusoid_tasks

__all__ = ["load_grouped", "make_sinusoid_tasks"]
