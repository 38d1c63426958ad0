"""The page of all studies says what the runs found, and nothing that nobody ran."""

from __future__ import annotations

import json

import pytest

from studies import catalogue, page, record
from studies.study import Conditions


def found(verdict: str, value: float) -> dict:
    number = {"name": "W", "value": value, "low": 0.0, "high": "inf", "paper": "a|b"}
    return {"study": "wgan/parallel_lines", "scale": "quick", "seed": 0, "verdict": verdict,
            "seconds": 2.0,
            "numbers": [number]}  # fmt: skip


def test_numbers_are_told_with_their_spread_and_verdicts_with_their_seeds():
    runs = [found("holds", 1.0), found("holds", 3.0), found("holds in part", 2.0)]
    text = page.written({"wgan/parallel_lines": runs})
    assert "of the quick size" in text
    assert "`python -m studies wgan/parallel_lines --quick`" in text
    assert "| W | 2 (1 to 3) | 0 to inf | a\\|b |" in text
    assert "holds in part (holds for 2, holds in part for 1 of 3 seeds)" in text
    assert "Only W tells a generator" in text, "the script's own words"


def test_a_page_is_written_of_what_was_run_only(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(page, "PAGES", tmp_path / "docs")
    monkeypatch.setattr(catalogue, "NAMES", ("wgan/parallel_lines",))
    for seed in page.SEEDS[:2]:
        made = record.kept("wgan/parallel_lines", Conditions("quick", seed), tmp_path)
        path = record.place("wgan/parallel_lines", "default", seed, tmp_path)
        path.write_text(json.dumps(made), encoding="utf-8")
    assert page.main([str(tmp_path)]) == 2
    assert "not every seed was run of wgan/parallel_lines" in capsys.readouterr().err
    assert not (tmp_path / "docs").exists()
    last = record.place("wgan/parallel_lines", "default", page.SEEDS[2], tmp_path)
    last.write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    assert page.main([str(tmp_path)]) == 0
    assert (tmp_path / "docs" / "wgan-parallel_lines.png").exists()
    assert (tmp_path / "docs" / "index.md").read_text(encoding="utf-8") == page.written(page.read())


def test_what_this_code_found_before_is_not_tried_again(tmp_path, monkeypatch):
    name = "wgan/parallel_lines"
    made = record.kept(name, Conditions("quick", 0), tmp_path)
    assert record.earlier(name, "quick", 0, tmp_path) == made
    assert record.earlier(name, "quick", 1, tmp_path) is None
    with monkeypatch.context() as patched:
        patched.setattr(record, "code", lambda: "another")
        assert record.earlier(name, "quick", 0, tmp_path) is None
    record.place(name, "quick", 0, tmp_path).write_text("{", encoding="utf-8")
    assert record.earlier(name, "quick", 0, tmp_path) is None


@pytest.mark.skipif(not (page.PAGES / "records.json").exists(), reason="the page is not made yet")
def test_the_page_in_docs_is_the_one_that_its_records_make():
    text = (page.PAGES / "index.md").read_text(encoding="utf-8")
    assert text == page.written(page.read()), "python -m studies.page studies-out"
    for name in page.read():
        assert (page.PAGES / f"{record.stem(name)}.png").exists()
