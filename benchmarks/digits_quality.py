"""Judges the digits independently, by support-vector classifiers of scikit-learn's.

    python benchmarks/digits_quality.py models/generator.onnx [more.onnx ...]

The judge shares nothing with the classifier that `monge evaluate` trains. It learns the training
images of `data/prepared`: for each class one SVC against the rest. Their ten decision values become
probabilities by softmax at one temperature, fitted by five-fold cross-validation (Guo et al. 2017,
"On calibration of modern neural networks"). SVC's own ten values will not do: they are mostly votes
of its pairs of classes, and hardly tell a digit from half a digit (docs/lab-log.md).

It looks at 5,000 generated images and at the held-out real ones. Printed for each file:

    score, score_of_real      exp(E[KL(p(y|x) || p(y))]) of both (Salimans et al. 2016, "Improved
                              techniques for training GANs"), on this judge; at most 10
    ratio                     the first by the second
    frechet                   Fréchet distance of the decision values (Dowson and Landau 1982, as in
                              Heusel et al. 2017), all generated images to the training images
    frechet_of_real           held-out images to the training images: the floor, at their number,
                              359, and so higher than 5,000 real images would come out
    frechet_at_equal_size     generated images to the training images as the floor is: the mean over
    frechet_spread            disjoint subsets with as many images of each class (as the judge calls
                              them) as are held out, and the standard deviation over the subsets;
                              missing where a class is too rare for two
    smallest_class, largest_class    share of the generated images that the judge calls so
    accuracy_on_real, confidence_on_real    on held-out images; alike if the judge is calibrated

Compare `frechet` with other generators' `frechet` only, and `frechet_of_real` with
`frechet_at_equal_size` only. Classes matter there: `monge prepare` holds out the same share of
each, and 359 images whose classes are left to chance lie two to three times as far, real or not.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monge.data.packed import PackedDataset
from monge.metrics.frechet import Gaussian, Moments, frechet_distance
from monge.serving.sampler import Sampler

IMAGES = 5000


def judge(dataset: PackedDataset) -> Any:
    """Fit the calibrated classifier on the training images."""
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.svm import SVC

    classifier = OneVsRestClassifier(SVC(C=10.0, gamma="scale"))
    calibrated = CalibratedClassifierCV(classifier, method="temperature", cv=5, ensemble=False)
    values = _rows(dataset.train.take(np.arange(len(dataset.train))))
    return calibrated.fit(values, dataset.train.labels)


def score(probabilities: NDArray[np.float64]) -> float:
    """Return exp of the mean divergence of each image's classes from all images' classes."""
    mean = probabilities.mean(axis=0)
    ratio = np.log(probabilities + 1e-12) - np.log(mean + 1e-12)
    return float(np.exp((probabilities * ratio).sum(axis=1).mean()))


def measure(model: Path, dataset: PackedDataset, classifier: Any) -> dict[str, float]:
    """Return the figures of one generator file."""
    generated = Sampler.load(model, provider="cpu").sample(IMAGES, seed=0).transpose(0, 3, 1, 2)
    held_out = dataset.validation.take(np.arange(len(dataset.validation)))
    fake = classifier.predict_proba(_rows(generated))
    real = classifier.predict_proba(_rows(held_out))
    called, labels = fake.argmax(axis=1), np.asarray(dataset.validation.labels)
    shares = np.bincount(called, minlength=fake.shape[1]) / len(fake)
    training = dataset.train.take(np.arange(len(dataset.train)))
    reference = _gaussian(_decisions(classifier, training))
    decisions = _decisions(classifier, generated)
    subsets = _subsets_like(labels, called)
    distances = [frechet_distance(_gaussian(decisions[rows]), reference) for rows in subsets]
    figures = {
        "score": score(fake),
        "score_of_real": score(real),
        "ratio": score(fake) / score(real),
        "frechet": frechet_distance(_gaussian(decisions), reference),
        "frechet_of_real": frechet_distance(_gaussian(_decisions(classifier, held_out)), reference),
        "smallest_class": float(shares.min()),
        "largest_class": float(shares.max()),
        "accuracy_on_real": float((real.argmax(axis=1) == labels).mean()),
        "confidence_on_real": float(real.max(axis=1).mean()),
    }
    if len(distances) > 1:
        figures["frechet_at_equal_size"] = float(np.mean(distances))
        figures["frechet_spread"] = float(np.std(distances, ddof=1))
    return figures


def _subsets_like(labels: NDArray[np.int64], called: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Disjoint sets of indices into `called`, each with as many of every class as `labels`."""
    counts = np.bincount(labels)
    members = [np.flatnonzero(called == label) for label in range(len(counts))]
    sets = min(len(rows) // count for rows, count in zip(members, counts, strict=True))
    return [
        np.concatenate([rows[i * n : (i + 1) * n] for rows, n in zip(members, counts, strict=True)])
        for i in range(sets)
    ]


def _decisions(classifier: Any, images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Decision values float64 [n, classes] of images uint8 [n, C, H, W]."""
    uncalibrated = classifier.calibrated_classifiers_[0].estimator
    values: NDArray[np.float64] = uncalibrated.decision_function(_rows(images))
    return values


def _gaussian(values: NDArray[np.float64]) -> Gaussian:
    return Moments(values.shape[1]).add(values).gaussian()


def _rows(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    return images.reshape(len(images), -1) / 255.0


def main() -> None:
    """Print a line of JSON a file."""
    dataset = PackedDataset.open(Path("data/prepared"))
    classifier = judge(dataset)
    for name in sys.argv[1:]:
        figures = measure(Path(name), dataset, classifier)
        print(json.dumps({"model": name} | {k: round(v, 4) for k, v in figures.items()}))


if __name__ == "__main__":
    main()
