"""Few-shot classification of classes never seen before: sentence embeddings and digits.

From the root of the repository, with the folder of ``clinc150.npz`` in SKCML_DATA::

    OMP_NUM_THREADS=1 python -m benchmarks.episodes.run --episodes 500

All methods see the same episodes. Meta-training has defaults only, once for all ways and shots.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable

import numpy as np

from benchmarks.episodes import peers
from benchmarks.episodes.protocol import (
    Learner,
    Pool,
    Score,
    clinc_pools,
    digits_pools,
    draw_tasks,
    evaluate,
)
from benchmarks.grouped.run import print_table

CLINC_QUERIES, DIGITS_QUERIES = 10, 15
DIGITS_EPISODES = 200


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line, run, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", choices=DATA, default=list(DATA))
    parser.add_argument("--episodes", type=int, default=500, help="of CLINC150, each setting")
    chosen = parser.parse_args(arguments)
    for name in chosen.data:
        DATA[name](chosen.episodes)


def clinc(n_episodes: int) -> None:
    """Sentence embeddings, 5 and 20 ways, 1 and 5 shots."""
    pools = clinc_pools()
    if not pools:
        print("SKCML_DATA, the folder of clinc150.npz, is not set: CLINC150 is left out.")
    settings = [(n_ways, n_shots) for n_ways in (5, 20) for n_shots in (1, 5)]
    for title, pool in pools.items():
        ours = _skcml(f"CLINC150, {title}", pool)
        results = {}
        for n_ways, n_shots in settings:
            cosine = peers.nearest_mean(peers.cosine, pool, n_ways, n_shots, CLINC_QUERIES)
            learners = ours | {"cosine": cosine} | peers.logistics()
            tasks = draw_tasks(
                pool.X_new, pool.y_new, n_ways, n_shots, CLINC_QUERIES, n_episodes, seed=0
            )
            scores = evaluate(learners, tasks)
            results[f"{n_ways}-way {n_shots}-shot"] = scores | _best("best C", "C =", scores)
        _report(results, ("log_loss", "accuracy", "calibration_error"))
        _report_times(results)


def digits(n_episodes: int) -> None:
    """Handwritten digits, 5 ways, 1 to 5 shots; at most `DIGITS_EPISODES` episodes."""
    for title, pool in digits_pools().items():
        ours = _skcml(f"Digits, {title}", pool)
        deviation = pool.X.std(axis=0)
        # a pixel that is always empty in meta-training stays as it is
        scaling = {"mean": pool.X.mean(axis=0), "scale": np.where(deviation > 0, deviation, 1.0)}
        results = {}
        for n_shots in range(1, 6):
            nearest = peers.nearest_mean(peers.distance, pool, 5, n_shots, DIGITS_QUERIES)
            logistics = peers.logistics("C =") | peers.logistics("standardised, C =", **scaling)
            tasks = draw_tasks(
                pool.X_new,
                pool.y_new,
                5,
                n_shots,
                DIGITS_QUERIES,
                min(n_episodes, DIGITS_EPISODES),
                seed=0,
            )
            scores = evaluate(ours | {"nearest mean": nearest} | logistics, tasks)
            shown = {name: scores[name] for name in (*ours, "nearest mean")}
            shown |= _best("best C", "C =", scores)
            shown |= _best("best C, standardised", "standardised, C =", scores)
            results[f"5-way {n_shots}-shot"] = shown
        _report(results, ("log_loss", "accuracy"))


DATA: dict[str, Callable[[int], None]] = {"clinc": clinc, "digits": digits}


def _skcml(title: str, pool: Pool) -> dict[str, Learner]:
    """Print a heading, meta-fit, and return skcml as the first of the learners."""
    print(f"\n### {title}")
    learner, seconds = peers.skcml(pool)
    print(f"\nmeta_fit of skcml on {len(pool.X)} rows: {seconds:.1f} s")
    return {"skcml": learner}


def _best(name: str, prefix: str, scores: dict[str, Score]) -> dict[str, Score]:
    """The score of the C with the lowest log-loss, which is a choice that favours the peer."""
    return {name: min(score for key, score in scores.items() if key.startswith(prefix))}


def _report(results: dict[str, dict[str, Score]], fields: Iterable[str]) -> None:
    """Print a table for each score, and the ratio of log-losses."""
    settings, methods = list(results), list(next(iter(results.values())))
    for field in fields:
        cells = [[getattr(scores[m], field) for m in methods] for scores in results.values()]
        title = field.replace("_", " ").capitalize()
        print_table(title, settings, methods, np.array(cells), "{:.3f}")
    print("\nLog-loss of skcml over that of its best peer")
    for setting, scores in results.items():
        best, name = min((score.log_loss, m) for m, score in scores.items() if m != "skcml")
        print(f"- {setting}: {scores['skcml'].log_loss / best:.3f} ({name})")


def _report_times(results: dict[str, dict[str, Score]]) -> None:
    """Print the time of fit and predict_proba beside that of LogisticRegression()."""
    print("\n| fit and predict_proba | skcml, ms | LogisticRegression(), ms | ratio |")
    print("|---|---|---|---|")
    for setting, scores in results.items():
        ours, theirs = scores["skcml"].milliseconds, scores["C = 1"].milliseconds
        print(f"| {setting} | {ours:.2f} | {theirs:.2f} | {ours / theirs:.2f} |")


if __name__ == "__main__":
    main()
