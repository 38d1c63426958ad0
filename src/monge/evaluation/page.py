"""`reports/report.html`: one file that needs no network, for a screen, a phone, or paper."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Iterable
from importlib import resources

from monge.durations import duration
from monge.evaluation import report_files
from monge.evaluation.catalogue import CATALOGUE
from monge.evaluation.document import rows
from monge.evaluation.facts import Facts

HEADLINE = (
    "frechet", "fid", "precision", "recall", "coverage", "classifier_score", "inception_score",
    "copying",
)  # fmt: skip

_PICTURES = (
    ("Generated and real", (report_files.SAMPLES, report_files.REAL), ""),
    (
        "Between two latents",
        (report_files.INTERPOLATIONS,),
        "A generator that has learnt more than single images changes smoothly along the way.",
    ),
    (
        "Images that come back",
        (report_files.RECONSTRUCTIONS, report_files.IMAGE_WALKS, report_files.POSTERIOR),
        "Held-out images through the encoder and back, walks between their latents, and where "
        "these lie beside those that images are drawn from.",
    ),
    (
        "Nearest training images",
        (report_files.NEIGHBOURS,),
        "Pairs that are the same picture would say that training images are copied.",
    ),
    (
        "Failures",
        (report_files.FAILURES,),
        "The generated images whose features are farthest from any real one's, the worst first.",
    ),
    ("Learning curve", (report_files.LEARNING_CURVE,), ""),
    ("Classes", (report_files.CLASS_BALANCE,), ""),
)
_CHARTS = {report_files.LEARNING_CURVE, report_files.CLASS_BALANCE, report_files.POSTERIOR}


def page(facts: Facts) -> str:
    """Draw the report of one judged generator."""
    style = resources.files("monge.evaluation").joinpath("page.css").read_text(encoding="utf-8")
    title = html.escape(f"{facts.name}, {facts.model_hash[:12]}")
    parts = [
        f"<h1>{title}</h1>",
        f'<p class="soft">{html.escape(facts.training)}; {html.escape(facts.data)}.</p>',
        f'<p class="verdict">{html.escape(facts.verdict)}</p>',
        *(
            f'<p class="verdict">{html.escape(said)}</p>'
            for said in (facts.words, facts.disagreement)
            if said
        ),
        _headline(facts),
        *_pictures(facts),
        *_figures(facts),
        _cost(facts),
        *_again(facts),
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body>\n</html>\n"
    )


def _headline(facts: Facts) -> str:
    cards = [
        f'<div class="card">{html.escape(name)}<b>{entry["value"]:.3g}</b>'
        f'<span class="soft">± {entry["noise"]:.2g}{_beside(entry)}</span></div>'
        for name, entry in facts.figures.items()
        if name in HEADLINE
    ]
    return f'<div class="cards">{"".join(cards)}</div>'


def _beside(entry: dict[str, object]) -> str:
    return f"; real images: {entry['floor']:.3g}" if "floor" in entry else ""


def _pictures(facts: Facts) -> Iterable[str]:
    for title, names, words in _PICTURES:
        shown = [name for name in names if name in facts.pictures]
        if shown:
            yield f"<h2>{title}</h2>"
            if words:
                yield f'<p class="soft">{words}</p>'
            shown_as = "".join(_picture(name, facts.pictures[name], title) for name in shown)
            yield f'<div class="pictures">{shown_as}</div>'


def _picture(name: str, content: bytes, title: str) -> str:
    kind = ' class="chart"' if name in _CHARTS else ""
    data = base64.b64encode(content).decode("ascii")
    words = f"{title}: {name.removesuffix('.png').replace('_', ' ')}"
    return f'<figure><img{kind} alt="{words}" src="data:image/png;base64,{data}"></figure>'


def _figures(facts: Facts) -> Iterable[str]:
    """One table a group; `real` is what held-out real images get in the generated ones' place."""
    yield "<h2>Figures</h2>"
    yield (
        '<p class="soft">Value, interval of 95 % confidence, and what held-out real images get '
        "when they are judged in the place of the generated ones: no generator can be asked for "
        "more.</p>"
    )
    cells = {row[0]: row for row in rows(facts.figures)}
    for group in dict.fromkeys(entry.group for entry in CATALOGUE.values()):
        names = [name for name in cells if CATALOGUE[name].group == group]
        if not names:
            continue
        lines = []
        for name in names:
            _, value, _, interval, real, better = cells[name]
            p_value = facts.figures[name].get("p_value")
            meaning = CATALOGUE[name].meaning + (
                f" (p = {p_value:.2g})" if p_value is not None else ""
            )
            lines.append(
                f"<tr><td><code>{name}</code></td><td>{value}</td><td>{interval}</td>"
                f"<td>{real}</td><td>{better}</td>"
                f'<td class="meaning">{html.escape(meaning)}</td></tr>'
            )
        yield (
            f'<div class="scroll"><table><caption>{group}</caption><thead><tr><th>figure</th>'
            "<th>value</th><th>95 % interval</th><th>real images</th><th>better</th>"
            f'<th style="text-align:left">what it says</th></tr></thead><tbody>{"".join(lines)}'
            "</tbody></table></div>"
        )


def _cost(facts: Facts) -> str:
    cards = [("generator file", f"{facts.model_bytes / 1e3:,.0f} kB")]
    if facts.images_seen is not None:
        cards.append(("real images seen", f"{facts.images_seen:,}"))
    if "seconds" in facts.cost:
        cards.append(("training time", duration(facts.cost["seconds"])))
    if "joules" in facts.cost:
        cards.append(("energy, whole machine", f"{facts.cost['joules'] / 3.6e6:.3g} kWh"))
    else:
        cards.append(("energy", "not measurable here"))
    shown = "".join(f'<div class="card">{name}<b>{value}</b></div>' for name, value in cards)
    return f'<h2>Cost</h2><div class="cards">{shown}</div>'


def _again(facts: Facts) -> Iterable[str]:
    """The exact protocol, and the commands that come to the same."""
    yield "<h2>Do it again</h2>"
    yield (
        '<p class="soft">Once it is registered, the commands that bring back its code, parameters '
        "and data are printed by:</p>"
    )
    yield "<pre>monge models --show VERSION</pre>"
    yield (
        f'<p class="soft">{html.escape(facts.code[0].upper() + facts.code[1:])}.</p>'
        f'<p class="soft">Generator SHA-256 <code>{facts.model_hash}</code>, dataset '
        f"<code>{html.escape(str(facts.contract.dataset_hash))}</code>, run "
        f"<code>{html.escape(str(facts.contract.run))}</code>, monge "
        f"{html.escape(facts.contract.monge_version)}.</p>"
    )
    protocols = {name: entry["protocol"] for name, entry in facts.figures.items()}
    for title, content in (
        ("Parameters", facts.parameters),
        ("Parameters of the training, as the file carries them", facts.contract.parameters),
        ("Protocol of each figure", protocols),
    ):
        text = html.escape(json.dumps(content, indent=1, sort_keys=True, default=str))
        yield f"<details><summary>{title}</summary><pre>{text}</pre></details>"
