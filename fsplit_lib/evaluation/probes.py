"""What a latent says: about the label, about the rest, and to a reader who was never asked for.

All are measured with finite samples, so each comes with its control: the same measurement on shuffled
labels, which would be 0 with infinitely many pictures.
"""

from dataclasses import dataclass

import numpy as np

from fsplit_lib.theory import entropy, mutual_information


@dataclass(frozen=True)
class ProbeResult:
    """Bits per picture of a latent whose symbols are coded one by one."""

    spent: float  # Σ_i H(s_i), what an ideal coder of single symbols pays
    label: float  # Σ_i I(s_i; label), corrected by the shuffled control
    control: float  # the same sum with shuffled labels: the bias of the estimate, already subtracted

    @property
    def rest(self) -> float:
        """Σ_i H(s_i | label): about the picture, but not about its label."""
        return self.spent - self.label


def what_symbols_tell(symbols: np.ndarray, labels: np.ndarray, seed: int = 0) -> ProbeResult:
    """Split the bits of single symbols (N, S), integers, into those about the labels (N,), integers, and the rest.

    Implements Eq. (11) of chapter 01, with frequencies for probabilities; ``seed`` shuffles the control's labels.

    >>> told = what_symbols_tell(np.arange(1000)[:, None] % 4, np.arange(1000) % 2)  # 2 bits, one of them the label
    >>> round(told.spent, 2), round(told.label, 1)
    (2.0, 1.0)
    """
    shuffled, classes = np.random.default_rng(seed).permutation(labels), labels.max() + 1
    spent = label = control = 0.0
    for column in symbols.T:
        values, index = np.unique(column, return_inverse=True)
        pairs = (index * classes + other for other in (labels, shuffled))
        counts = (np.bincount(pair, minlength=len(values) * classes).reshape(-1, classes) for pair in pairs)
        joint, chance = (count / len(index) for count in counts)
        spent += entropy(joint.sum(axis=1))
        label += mutual_information(joint)
        control += mutual_information(chance)
    return ProbeResult(spent, label - control, control)


def linear_probe(latent: np.ndarray, wanted: np.ndarray, trained_on: int) -> float:
    """Measure how much of something else a linear reader finds in a latent: R² on pictures it was not fitted to.

    The first ``trained_on`` of N pictures fit the reader of K ``wanted`` numbers (N, K) in the ``latent`` (N, S), the
    rest judge it: 1 − squared error / variance, over all K together. 0 is what the average alone would score.

    >>> latent = np.random.default_rng(0).normal(size=(60, 3))
    >>> round(linear_probe(latent, latent @ np.ones((3, 1)), trained_on=40), 2)
    1.0
    """
    from sklearn.linear_model import RidgeCV  # takes a second, which few chapters need
    from sklearn.metrics import r2_score

    reader = RidgeCV(alphas=10.0 ** np.arange(0, 6)).fit(latent[:trained_on], wanted[:trained_on])
    truth, read = wanted[trained_on:], reader.predict(latent[trained_on:])
    return float(r2_score(truth, read, multioutput="variance_weighted"))


def probed_classes(features: np.ndarray, others: list[np.ndarray], labels: np.ndarray, seed: int) -> list[np.ndarray]:
    """Answer with a linear classifier of features (N, D), for pictures that it was not fitted to.

    The pictures fall into three parts, drawn from ``seed``; each part is answered by a ridge classifier of the other
    two, whose strength is chosen by leaving out one picture after the other. Labels are (N,) integers. The ``others``
    are more features of the same pictures, (N, D) each, which the same classifiers answer as well.

    Returns (N,) answers from ``features`` and from each of ``others``.
    """
    from sklearn.linear_model import RidgeClassifierCV
    from sklearn.model_selection import StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    answers = [np.empty_like(labels) for _ in (features, *others)]
    for fit, judge in StratifiedKFold(3, shuffle=True, random_state=seed).split(features, labels):
        reader = make_pipeline(StandardScaler(), RidgeClassifierCV(10.0 ** np.arange(0, 6)))
        reader.fit(features[fit], labels[fit])
        for answer, read in zip(answers, (features, *others), strict=True):
            answer[judge] = reader.predict(read[judge])
    return answers
