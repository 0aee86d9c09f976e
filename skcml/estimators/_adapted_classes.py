"""What `fit` leaves behind where each task has classes of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from skcml.estimators._adapted import task_codes
from skcml.grouping import GroupIndex
from skcml.selection.class_networks import TaskWeights
from skcml.selection.classes import LearnedClasses, class_probabilities


@dataclass(frozen=True)
class AdaptedClasses:
    """Weights of each task's classes.

    Attributes
    ----------
    learned : LearnedClasses
    weights : sequence of ndarray of shape (n_classes of the task, n_columns), or of TaskWeights
    labels : sequence of ndarray of shape (n_classes of the task,), int
        Which of all classes these are.
    n_classes : int
        Of all tasks.
    groups : GroupIndex or None
        The groups that were adapted to; None for a single task.
    offset : ndarray of shape (n_classes,) or None
        Added to the logit of each class.
    """

    learned: LearnedClasses
    weights: Sequence[np.ndarray | TaskWeights]
    labels: Sequence[np.ndarray]
    n_classes: int
    groups: GroupIndex | None
    offset: np.ndarray | None = None

    @property
    def n_tasks(self) -> int:
        """How many tasks have been adapted to."""
        return len(self.weights)

    def for_rows(self, groups: Any, n_samples: int) -> tuple[Self, np.ndarray]:
        """Return what predicts rows of these groups, and the task of each."""
        return self, self.codes(groups, n_samples)

    def without(self, codes: np.ndarray) -> tuple[AdaptedClasses | None, np.ndarray]:
        """Return this without some tasks, if one is left, and which classes it still has."""
        tasks = np.delete(np.arange(self.n_tasks), codes)
        kept = tasks.tolist()
        if self.groups is None or not any(len(self.labels[task]) for task in kept):
            return None, tasks[:0]
        classes = np.unique(np.concatenate([self.labels[task] for task in kept]))
        left = replace(
            self,
            weights=[self.weights[task] for task in kept],
            labels=[np.searchsorted(classes, self.labels[task]) for task in kept],
            n_classes=len(classes),
            groups=GroupIndex(self.groups.labels[tasks]),
            offset=None if self.offset is None else self.offset[classes],
        )
        return left, classes

    def codes(self, groups: Any, n_samples: int) -> np.ndarray:
        """Return the task of each row."""
        codes = task_codes(self.groups, groups, n_samples)
        if self.groups is None:
            return codes
        has_classes = np.append([len(labels) > 0 for labels in self.labels], False)
        unknown = ~has_classes[codes]
        if unknown.any():
            raise ValueError(
                f"groups holds a group in row {int(unknown.argmax())} that fit has not seen. Its "
                "classes are its own, with classes='exchangeable', and nothing is known of them: "
                "call fit with rows of this group, or leave it out."
            )
        return codes

    def predict(
        self, X: np.ndarray, codes: np.ndarray, *, variance: bool = False
    ) -> tuple[np.ndarray, None]:
        """Return the probability of each class, of shape (n_classes, n_rows)."""
        if self.groups is None and len(self.labels[0]) == self.n_classes:
            return self._of_task(0, X), None
        probabilities = np.zeros((self.n_classes, len(X)))
        order = np.argsort(codes, kind="stable")
        tasks, starts = np.unique(codes[order], return_index=True)
        for task, rows in zip(tasks, np.split(order, starts[1:]), strict=True):
            probabilities[np.ix_(self.labels[task], rows)] = self._of_task(task, X[rows])
        return probabilities, None

    def _of_task(self, task: int, X: np.ndarray) -> np.ndarray:
        """Return the probability of each class of a task, of shape (n_classes, n_rows)."""
        offset = None if self.offset is None else self.offset[self.labels[task]]
        return class_probabilities(self.learned, self.weights[task], X, offset).T
