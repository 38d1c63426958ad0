"""Lists the studies, or runs one: its picture, its numbers, and whether the claim holds here.

    python -m studies
    python -m studies --quick              # all of them, each in seconds: `make studies` for more
    python -m studies wgan/parallel_lines [--quick | --full] [--seed 0] [--out studies-out]

docs/studies/index.md has what all of them found.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monge.durations import duration
from monge.errors import InputError, MongeError
from monge.files import storing
from studies import catalogue
from studies.study import Conditions, Scale, Study

if TYPE_CHECKING:
    from studies.record import Record

OUT = Path("studies-out")


def main(arguments: list[str] | None = None) -> int:
    """List, or run one; the exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    asked = _parser().parse_args(given)
    if not given:
        print(_listing())
        return 0
    try:
        print(_all(asked) if asked.study is None else _run(asked))
    except MongeError as error:
        print(f"studies: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("\nstudies: stopped; nothing was written", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m studies", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument(
        "study", nargs="?", help="such as wgan/parallel_lines; none with --quick: all of them"
    )
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="the smallest that shows it: seconds")
    size.add_argument("--full", action="store_true", help="the paper's size, where it is larger")
    parser.add_argument("--seed", type=int, default=0, help="of all that is drawn at random")
    parser.add_argument("--images", type=Path, help="a folder or archive, for studies of images")
    parser.add_argument("--out", type=Path, default=OUT, help=f"where it writes; {OUT}")
    parser.add_argument("--track", action="store_true", help="leave the run with MLflow, too")
    return parser


def _listing() -> str:
    lines = []
    for name in catalogue.NAMES:
        told = catalogue.told(name)
        lines += [
            f"{name}  ({duration(told.seconds[1])}; quick {duration(told.seconds[0])})",
            f"    {told.source}",
            f"    {told.claim}",
        ]
    return "\n".join([*lines, "", "Run one: python -m studies NAME [--quick]"])


def _all(asked: argparse.Namespace) -> str:
    """Run all of them at the quick size, a line each. Raises InputError for another size."""
    if not asked.quick or asked.images is not None:
        raise InputError(
            "which study? Name one of `python -m studies`, take --quick alone for all of them, or "
            "`make studies`, which runs all at the default size."
        )
    for name in catalogue.NAMES:
        kept = _kept(asked, name, catalogue.told(name))
        print(f"{name}: {kept['verdict']} ({duration(kept['seconds'])})", flush=True)
    return f"{len(catalogue.NAMES)} studies; their pictures and numbers are in {asked.out}"


def _run(asked: argparse.Namespace) -> str:
    """Run it and write what was found; the words for a person."""
    name = catalogue.found(asked.study)
    told = catalogue.told(name)
    print(f"{name}: {told.claim}", file=sys.stderr)
    kept = _kept(asked, name, told)
    from studies import record

    return record.words(told, kept, asked.out)


def _kept(asked: argparse.Namespace, name: str, told: Study) -> Record:
    """Run it, and leave its record where it was asked for."""
    _check(asked, name, told)
    scale: Scale = "quick" if asked.quick else "full" if asked.full else "default"
    from studies import record

    at = Conditions(scale, asked.seed, asked.images, partial(_bar, name))
    kept = record.kept(name, at, asked.out)
    if asked.track:
        record.log(kept, told, asked.out)
    return kept


def _check(asked: argparse.Namespace, name: str, told: Study) -> None:
    """Refuse now what would fail after minutes, or change nothing. Raises MongeError."""
    if asked.full and not told.full:
        raise InputError(f"{name}: its default is the paper's size already. Leave out --full.")
    if asked.seed < 0:
        raise InputError(f"--seed: {asked.seed} is none: take 0, 1, 2 and so on.")
    if asked.images is not None and not told.images:
        raise InputError(f"{name}: it is not about images, and takes none. Leave out --images.")
    if asked.images is not None and not asked.images.exists():
        raise InputError(f"--images: {asked.images}: no such folder or file.")
    with storing(asked.out):
        asked.out.mkdir(parents=True, exist_ok=True)


def _bar(name: str, iterable: Any, **told: Any) -> Any:
    from tqdm import tqdm

    return tqdm(iterable, desc=name, leave=False, disable=not sys.stderr.isatty(), **told)


if __name__ == "__main__":
    sys.exit(main())
