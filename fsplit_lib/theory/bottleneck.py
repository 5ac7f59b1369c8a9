"""The information bottleneck of small discrete problems: solved, annealed, and checked by brute force.

    X ──► T ──► guess of Y        minimise  I(X;T) − beta · I(T;Y)  over p(t|x)

Source: Tishby, Pereira & Bialek 1999, "The information bottleneck method" (physics/0004057); the bounds are
those of Alemi et al. 2017, "Deep variational information bottleneck" (arXiv 1612.00410).
"""

from dataclasses import dataclass

import numpy as np

from fsplit_lib.theory.information import checked, mutual_information


@dataclass(frozen=True)
class Bottleneck:
    """One encoder and where it lies on the information plane."""

    encoder: np.ndarray  # p(t|x), (X, T)
    beta: float  # what a bit of relevance may cost in bits of rate
    rate: float  # I(X;T) in bits
    relevance: float  # I(T;Y) in bits

    @property
    def lagrangian(self) -> float:
        """I(X;T) − beta · I(T;Y), Eq. (5) of chapter 01."""
        return self.rate - self.beta * self.relevance

    @property
    def meanings(self) -> list[list[int]]:
        """The values of X, grouped by what the encoder most often says of them.

        Two outputs that speak of the same inputs in the same proportions mean the same thing: an annealed
        solution is full of such twins below a critical beta.
        """
        share = self.encoder / np.maximum(self.encoder.sum(0), 1e-12)  # (X, T), what each output speaks of
        said = [int(np.abs(share - share[:, [t]]).max(0).__lt__(0.02).argmax()) for t in self.encoder.argmax(1)]
        return [[x for x, t in enumerate(said) if t == group] for group in dict.fromkeys(said)]


def at(p_xy: np.ndarray, encoder: np.ndarray, beta: float) -> Bottleneck:
    """Measure an encoder p(t|x) (X, T) on a joint distribution p_xy (X, Y)."""
    p_xy = checked(p_xy)
    p_xt = p_xy.sum(1, keepdims=True) * encoder
    return Bottleneck(encoder, beta, mutual_information(p_xt), mutual_information(encoder.T @ p_xy))


def update_encoder(p_xy: np.ndarray, encoder: np.ndarray, beta: float) -> np.ndarray:
    """Take one step of Blahut-Arimoto from an encoder p(t|x) (X, T): Eqs. (6) and (7) of chapter 01, then Eq. (8).

    Of D(p(y|x) ‖ p(y|t)) only the part that depends on t is computed; the rest cancels where rows are normalised.
    In the joint distribution p_xy (X, Y) every x occurs.
    """
    p_x = p_xy.sum(1)
    p_t = p_x @ encoder
    used = p_t > 1e-12
    p_y_t = encoder[:, used].T @ p_xy / p_t[used, None]
    cross = p_xy / p_x[:, None] @ np.log2(np.maximum(p_y_t, 1e-300)).T  # mean log2 p(y|t), (X, T)
    logits = np.log2(p_t[used]) + beta * cross
    new = np.zeros_like(encoder)
    new[:, used] = 2.0 ** (logits - logits.max(1, keepdims=True))
    return new / new.sum(1, keepdims=True)


def solve(p_xy: np.ndarray, beta: float, encoder: np.ndarray, tolerance: float = 1e-10, most: int = 5000) -> Bottleneck:
    """Iterate Blahut-Arimoto, Eqs. (6)-(8) of chapter 01, from an encoder (X, T) to a fixed point on p_xy (X, Y).

    No step raises the Lagrangian; like every such iteration it may stop in a local minimum, or after ``most`` steps.

    Raises:
        ValueError: beta < 0, or an x that never occurs.
    """
    p_xy = checked(p_xy)
    if beta < 0 or (p_xy.sum(1) == 0).any():
        raise ValueError(f"beta must be >= 0 and every x must occur; beta is {beta}")
    for _ in range(most):
        old, encoder = encoder, update_encoder(p_xy, encoder, beta)
        if np.abs(encoder - old).max() < tolerance:
            break
    return at(p_xy, encoder, beta)


def anneal(p_xy: np.ndarray, betas: np.ndarray) -> list[Bottleneck]:
    """Find one solution on p_xy (X, Y) per beta, followed from the largest down, where T = X is all but optimal.

    What is followed can be a local minimum near beta = 1, where groups that are never confused do not
    merge by themselves; saying nothing at all is the rival there, and the better of the two is returned.
    """
    encoder, found = np.eye(len(p_xy)), {}
    silent = np.full_like(encoder, 1 / len(p_xy))
    for beta in sorted(betas, reverse=True):
        followed = solve(p_xy, float(beta), encoder)
        encoder = followed.encoder
        found[beta] = min(followed, at(p_xy, silent, float(beta)), key=lambda solution: solution.lagrangian)
    return [found[beta] for beta in betas]


def hard_groupings(p_xy: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Try every way to group the values of X; return groups (G, X), their rates (G,) and relevances (G,) in bits.

    Raises:
        ValueError: p_xy (X, Y) has more than 10 values of X, and they more than 115,975 groupings.
    """
    p_xy = checked(p_xy)
    if len(p_xy) > 10:
        raise ValueError(f"{len(p_xy)} values have too many groupings to try them all; at most 10")
    groups = np.array(_groupings(len(p_xy)))
    one_hot = np.eye(len(p_xy))
    parts = [_informations(one_hot[some], p_xy) for some in np.array_split(groups, max(1, len(groups) // 5000))]
    rates, relevances = (np.concatenate(part) for part in zip(*parts, strict=True))
    return groups, rates, relevances


def _informations(encoders: np.ndarray, p_xy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """I(X;T) = H(T) and I(T;Y) of hard encoders (G, X, T)."""
    p_ty = np.einsum("gxt,xy->gty", encoders, p_xy)
    rate = -_xlogx(p_ty.sum(2)).sum(1)
    return rate, rate + _xlogx(p_ty).sum((1, 2)) - _xlogx(p_xy.sum(0)).sum()


def _xlogx(p: np.ndarray) -> np.ndarray:
    return p * np.log2(np.where(p > 0, p, 1))


def _groupings(count: int) -> list[tuple[int, ...]]:
    """All restricted growth strings: every way to group ``count`` things, once."""
    found = [()]
    for _ in range(count):
        found = [(*sofar, group) for sofar in found for group in range(max(sofar, default=-1) + 2)]
    return found


def variational_bounds(
    p_xy: np.ndarray, encoder: np.ndarray, prior: np.ndarray, decoder: np.ndarray
) -> tuple[float, float]:
    """Compute the bounds in bits that a network can measure: Eqs. (9) and (10) of chapter 01, on p_xy (X, Y).

    I(X;T) <= E D(p(t|x) ‖ prior) and I(T;Y) >= H(Y) + E log2 decoder(y|t), for an encoder p(t|x) (X, T), any
    distribution over T as prior (T,) and any guess of p(y|t) as decoder (T, Y).
    """
    p_xy, prior = checked(p_xy), checked(prior)
    p_xt = p_xy.sum(1, keepdims=True) * encoder
    p_ty, p_y = encoder.T @ p_xy, p_xy.sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        rate = np.where(p_xt > 0, p_xt * (np.log2(encoder) - np.log2(prior)), 0).sum()
        guess = np.where(p_ty > 0, p_ty * np.log2(decoder), 0).sum()
        return float(rate), float(guess - _xlogx(p_y).sum())
