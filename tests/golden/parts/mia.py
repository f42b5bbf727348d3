"""Membership inference.

mia         mia.safetensors, mia.json
    The attack of the study. For each case of the JSON's list: "CASE/members", "CASE/nonmembers" (losses, exact in
    float32), "CASE/test" (10, k) int64: the test samples of scikit-learn's StratifiedShuffleSplit(10, test_size=0.1,
    random_state=0), as positions in members followed by nonmembers; the training samples are all the others.
    "CASE/accuracy" (10), "CASE/coefficient" (10), "CASE/intercept" (10) of LogisticRegression on each split;
    "CASE/auc" (1) with score = -loss, "CASE/tpr" (2): the largest TPR of a threshold with FPR <= 0.001 and <= 0.01.
"""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedShuffleSplit

from parts.files import save, save_json


def mia_cases():
    rng = np.random.default_rng(3)
    return {
        "shifted": (rng.exponential(0.5, 400), rng.exponential(1.0, 400)),
        "heavy_tailed": (rng.lognormal(-3, 2.5, 400), rng.pareto(0.7, 400) * 0.05),
        "identical": (rng.gamma(0.5, 1.0, 300), rng.gamma(0.5, 1.0, 300)),
        "tiny": (rng.exponential(0.5, 10), rng.exponential(1.0, 10)),
        "constant": (np.full(50, 1.25), np.full(50, 1.25)),
        "ties": (np.round(rng.exponential(0.7, 200) * 4) / 4, np.round(rng.exponential(1.0, 200) * 4) / 4),
        "unequal": (rng.exponential(0.5, 137), rng.exponential(1.0, 251)),
    }


def fit(x, y):
    """Coefficient and intercept of L2-regularised logistic regression (C = 1, free intercept), fitted to convergence.

    scikit-learn's Newton solver hands over to lbfgs, which stops early, where its line search meets rounding (all
    features equal, or very long tails); so damped Newton steps from its answer finish the job. Also returns how far
    that moved the coefficient.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = LogisticRegression(C=1.0, solver="newton-cholesky", tol=1e-10, max_iter=10000).fit(x, y)
    design = np.column_stack([x[:, 0], np.ones(len(y))])
    penalty = np.array([1.0, 0.0])
    found = np.array([model.coef_[0, 0], model.intercept_[0]])
    best = found

    def gradient(theta):
        return design.T @ (1 / (1 + np.exp(-(design @ theta))) - y) + penalty * theta

    for _ in range(100):
        p = 1 / (1 + np.exp(-(design @ best)))
        hessian = design.T @ (design * (p * (1 - p))[:, None]) + np.diag(penalty)
        step = np.linalg.solve(hessian, gradient(best))
        size = 1.0
        while size > 1e-3 and np.linalg.norm(gradient(best - size * step)) >= np.linalg.norm(gradient(best)):
            size /= 2
        if size <= 1e-3:
            break
        best = best - size * step
    scale = np.abs(design).sum(axis=0) + 1
    assert np.all(np.abs(gradient(best)) <= 1e-12 * scale), f"not converged: gradient {gradient(best)}"
    moved = abs(best[0] - found[0])
    model.coef_[0, 0], model.intercept_[0] = best
    return model, best[0], best[1], moved


def largest_tpr(members, nonmembers, limit):
    best = 0.0
    for threshold in np.unique(np.concatenate([members, nonmembers])):
        if np.count_nonzero(nonmembers <= threshold) / len(nonmembers) <= limit:
            best = max(best, np.count_nonzero(members <= threshold) / len(members))
    return best


def mia(out):
    tensors = {}
    cases = mia_cases()
    for name, losses in cases.items():
        members, nonmembers = (part.astype(np.float32).astype(np.float64) for part in losses)
        x = np.concatenate([members, nonmembers])[:, None]
        y = np.concatenate([np.ones(len(members), np.int64), np.zeros(len(nonmembers), np.int64)])
        splits = StratifiedShuffleSplit(n_splits=10, test_size=0.1, random_state=0)
        tests, accuracy, coefficient, intercept = [], [], [], []
        for train, test in splits.split(x, y):
            assert np.array_equal(np.sort(np.concatenate([train, test])), np.arange(len(y)))
            model, a, b, moved = fit(x[train], y[train])
            if moved > 1e-6 * (1 + abs(a)):
                print(f"  {name}: scikit-learn stopped {moved:.1e} short of the coefficient {a:.4f}")
            tests.append(test)
            accuracy.append(model.score(x[test], y[test]))
            coefficient.append(a)
            intercept.append(b)
        tensors.update({
            f"{name}/members": members, f"{name}/nonmembers": nonmembers, f"{name}/test": np.stack(tests),
            f"{name}/accuracy": np.array(accuracy), f"{name}/coefficient": np.array(coefficient),
            f"{name}/intercept": np.array(intercept), f"{name}/auc": roc_auc_score(y, -x[:, 0]),
            f"{name}/tpr": np.array([largest_tpr(members, nonmembers, limit) for limit in (0.001, 0.01)]),
        })
    save(out / "mia.safetensors", tensors)
    save_json(out / "mia.json", {"cases": list(cases), "splits": 10, "test_size": 0.1, "random_state": 0, "C": 1.0,
                                 "fpr": [0.001, 0.01]})
