"""The same report for other readers: a model hub's card, and a comment on a pull request."""

from __future__ import annotations

import json

from monge.alpha import COLOURS
from monge.evaluation.document import rows
from monge.evaluation.facts import Facts
from monge.evaluation.page import HEADLINE

_USE = """```python
import numpy as np, onnxruntime

session = onnxruntime.InferenceSession("generator.onnx")
latents = np.random.default_rng(7).standard_normal((64, {latent_dim}), np.float32)
{labels}(images,) = session.run(None, {{"latents": latents{given}}})  # uint8 [64, {shape}]
```"""


def card(facts: Facts) -> str:
    """`MODEL_CARD.md`: YAML for machines in front, then what a person should know before use."""
    contract = facts.contract
    height, width, channels = contract.image_shape
    use = _USE.format(
        latent_dim=contract.latent_dim, shape=", ".join(map(str, contract.image_shape)),
        labels="labels = np.zeros(64, np.int64)  # of the first class\n" * contract.conditional,
        given=', "labels": labels' * contract.conditional,
    )  # fmt: skip
    copying = facts.figures.get("copying", {}).get("value")
    warned = (
        f"- A generated image is nearer to the training images than a held-out one in "
        f"{copying:.0%} of cases (50 % is fair): look at the nearest neighbours in the report "
        "before images are published.\n"
        if copying is not None
        else ""
    )
    return (
        f"{_front(facts)}\n# {facts.name}\n\n"
        f"A generator of {width}×{height} {COLOURS[channels]} images: "
        f"{facts.training}. Trained on {facts.data}.\n\n## Use\n\n{use}\n\n"
        f"One seed gives the same images in every language with monge's latents: "
        f"`monge sample generator.onnx --seed 7`.\n\n## Figures\n\n"
        f"{_words(facts)}{_table(facts, all_of=True)}\n"
        "`real` is what held-out real images get in the place of the generated ones. "
        f"{_eyes(facts)}\n\n"
        "## Limits\n\n"
        "- It draws what its training images are like, with their omissions and their bias, and "
        "knows nothing else.\n"
        f"{warned}"
        "- The figures hold for this dataset and these protocols only; do not compare them with "
        "others'.\n\n## Origin\n\n"
        f"Generator SHA-256 `{facts.model_hash}`, dataset `{contract.dataset_hash}`, "
        f"{facts.code}, run `{contract.run}`, monge {contract.monge_version}. "
        "`monge models --show` with its version prints the commands that make it again.\n"
    )


def _eyes(facts: Facts) -> str:
    """Say which figures of the literature these are, and which they are not."""
    if "fid" in facts.figures:
        return "FID, KID and Inception score are on few images a subset: see their protocols."
    return "The features are not Inception's: no figure here is a FID, a KID or an Inception score."


def comment(facts: Facts) -> str:
    """`report.md`: verdict, headline figures and where to look, short enough for a comment."""
    return (
        f"### {facts.name} `{facts.model_hash[:12]}`\n\n**{facts.verdict}**\n\n"
        f"{_words(facts)}{facts.training}; {facts.data}; {facts.code}.\n\n"
        f"{_table(facts, all_of=False)}\n"
        "All figures, pictures and protocols: `reports/report.html`. "
        "Against another revision: `dvc metrics diff`, `dvc plots diff`.\n"
    )


def _words(facts: Facts) -> str:
    """The verdict in words, and where figures disagree, each a paragraph of its own."""
    return "".join(f"{said}\n\n" for said in (facts.words, facts.disagreement) if said)


def _table(facts: Facts, *, all_of: bool) -> str:
    lines = ["| figure | value | 95 % interval | real | better |", "|---|---:|---:|---:|---|"]
    for name, value, _, interval, real, better in rows(facts.figures):
        if all_of or name in HEADLINE:
            lines.append(f"| `{name}` | {value} | {interval} | {real} | {better} |")
    return "\n".join(lines) + "\n"


def _front(facts: Facts) -> str:
    """The metadata block that model hubs read; JSON strings are YAML strings."""
    metrics = "".join(
        f"      - type: {name}\n        value: {entry['value']!r}\n"
        for name, entry in facts.figures.items()
        if name in HEADLINE
    )
    name = json.dumps(facts.name)
    kind = json.dumps(facts.source)
    task, pipeline = "unconditional-image-generation", ""
    tags = ["onnx", *filter(None, [facts.method]), "monge"]
    if facts.contract.conditional:
        # Hubs have no pipeline for images of a class: a tag of the card's own says what it does.
        task = "conditional-image-generation"
        tags.append(task)
    else:
        pipeline = f"pipeline_tag: {task}\n"
    listed = "".join(f"  - {json.dumps(tag)}\n" for tag in tags)
    return (
        f"---\nlibrary_name: onnx\n{pipeline}tags:\n{listed}"
        f"model-index:\n  - name: {name}\n    results:\n    - task:\n        type: {task}\n"
        f"      dataset:\n        name: {kind}\n        type: {kind}\n"
        f"      metrics:\n{metrics}---\n"
    )
