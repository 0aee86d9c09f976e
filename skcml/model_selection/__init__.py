"""Choosing between settings of `meta_fit`, by groups that were not learned from."""

from skcml.model_selection._task_learner import TaskLearner

__all__ = ["TaskLearner"]
