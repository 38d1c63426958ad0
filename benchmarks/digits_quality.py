"""How good are the digits? An independent judge: a support-vector classifier of scikit-learn's.

    python benchmarks/digits_quality.py models/generator.onnx [more.onnx ...]

It learns the training images of `data/prepared`, then gives class probabilities for 5,000 generated
images and for the held-out real ones. Printed for each file: the Inception-style score
exp(E[KL(p(y|x) || p(y))]) (Salimans et al. 2016) of both, their ratio, and the smallest and largest
share of a class. It shares nothing with the classifier that `monge evaluate` trains.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monge.data.packed import PackedDataset
from monge.serving.sampler import Sampler

IMAGES = 5000


def judge(dataset: PackedDataset) -> Any:
    """A calibrated support-vector classifier of the training images."""
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.svm import SVC

    values = _rows(dataset.train.take(np.arange(len(dataset.train))))
    svc = SVC(C=10.0, gamma="scale", random_state=0)
    return CalibratedClassifierCV(svc, cv=5, ensemble=False).fit(values, dataset.train.labels)


def score(probabilities: NDArray[np.float64]) -> float:
    """exp of the mean divergence of each image's classes from all images' classes."""
    mean = probabilities.mean(axis=0)
    ratio = np.log(probabilities + 1e-12) - np.log(mean + 1e-12)
    return float(np.exp((probabilities * ratio).sum(axis=1).mean()))


def measure(model: Path, dataset: PackedDataset, classifier: Any) -> dict[str, float]:
    """The figures of one generator file."""
    generated = Sampler.load(model, provider="cpu").sample(IMAGES, seed=0)
    fake = classifier.predict_proba(_rows(generated.transpose(0, 3, 1, 2)))
    held_out = dataset.validation.take(np.arange(len(dataset.validation)))
    real = classifier.predict_proba(_rows(held_out))
    shares = np.bincount(fake.argmax(axis=1), minlength=fake.shape[1]) / len(fake)
    return {
        "score": score(fake),
        "score_of_real": score(real),
        "ratio": score(fake) / score(real),
        "smallest_class": float(shares.min()),
        "largest_class": float(shares.max()),
        "accuracy_on_real": float((real.argmax(axis=1) == dataset.validation.labels).mean()),
    }


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
