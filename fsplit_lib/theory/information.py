"""Entropy, divergence and mutual information of discrete distributions, in bits.

Source: Cover & Thomas, "Elements of Information Theory", 2nd edition, chapter 2.
"""

import numpy as np


def checked(p: np.ndarray) -> np.ndarray:
    """Return p as float64.

    Raises:
        ValueError: an entry is negative or not finite, or they do not add up to 1.
    """
    p = np.asarray(p, dtype=np.float64)
    if not np.isfinite(p).all() or (p < 0).any() or abs(p.sum() - 1) > 1e-6:
        raise ValueError(f"a distribution has entries >= 0 that add up to 1; these add up to {p.sum():g}")
    return p


def _plogq(p: np.ndarray, q: np.ndarray) -> float:
    """Σ p log2 q, where 0 · log 0 = 0."""
    used = p > 0
    with np.errstate(divide="ignore"):
        return float((p[used] * np.log2(q[used])).sum())


def entropy(p: np.ndarray) -> float:
    """Compute H(p) = −Σ p log2 p over all entries: the mean number of yes-or-no questions. Eq. (1) of chapter 01.

    >>> entropy([0.5, 0.25, 0.25])
    1.5
    """
    p = checked(p)
    return 0.0 - _plogq(p, p)


def kl_divergence(p: np.ndarray, q: np.ndarray) -> float:
    """Compute D(p‖q) = Σ p log2(p / q): bits wasted by a code built for q. Eq. (2) of chapter 01.

    Infinite where p puts weight on something that q calls impossible.

    >>> kl_divergence([1.0, 0.0], [0.25, 0.75])
    2.0
    """
    p, q = checked(p), checked(q)
    if p.shape != q.shape:
        raise ValueError(f"both distributions need one shape, got {p.shape} and {q.shape}")
    return max(0.0, _plogq(p, p) - _plogq(p, q))


def mutual_information(p_xy: np.ndarray) -> float:
    """Compute I(X;Y) = D(p(x,y) ‖ p(x) p(y)): bits that X tells about Y, of p_xy (X, Y). Eq. (3) of chapter 01.

    >>> mutual_information([[0.5, 0.0], [0.0, 0.5]])
    1.0
    """
    p_xy = checked(p_xy)
    if p_xy.ndim != 2:
        raise ValueError(f"a joint distribution is a table (X, Y), got shape {p_xy.shape}")
    return kl_divergence(p_xy, p_xy.sum(1, keepdims=True) * p_xy.sum(0, keepdims=True))


def conditional_entropy(p_xy: np.ndarray) -> float:
    """Compute H(Y|X) = H(X,Y) − H(X): what stays open about Y when X is known, in bits.

    >>> conditional_entropy([[0.25, 0.25], [0.5, 0.0]])
    0.5
    """
    p_xy = checked(p_xy)
    return entropy(p_xy) - entropy(p_xy.sum(1))
