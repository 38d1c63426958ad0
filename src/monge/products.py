"""A product is a folder of its own, products/NAME: parameters, stages, data, checkpoints, reports.

Several of them in one checkout share its code, its environment, DVC's cache, and MLflow's database,
which lie in the checkout's own folder, and nothing else.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from pathlib import Path

from monge.errors import InputError
from monge.files import write_whole
from monge.original import original

FOLDER, SWEEPS = "products", "sweeps"
PARAMS, STAGES = "params.yaml", "dvc.yaml"

_LONGEST = 63
_NAME = re.compile(rf"[a-z0-9][a-z0-9._-]{{0,{_LONGEST - 1}}}")
_ENDING = re.compile(r"(\.tar)?\.(zip|tar|gz|tgz|bz2|tbz2?|xz|txz|zst|7z|rar)$", re.I)
_LETTER = re.compile(
    r"(?P<script>LATIN|CYRILLIC|GREEK|HIRAGANA|KATAKANA|HANGUL)(?: SMALL)? "
    r"(?:LETTER|LIGATURE|SYLLABLE) (?P<said>[A-Z -]+?)(?: WITH .*)?"
)
_HEADER = (
    "# Written by monge from the checkout's own dvc.yaml, and again when that one changes. Edit\n"
    "# params.yaml beside it.\n"
)


def home(root: Path) -> Path:
    """The checkout that a folder belongs to: of products/NAME the one around it, else itself.

    A trial of a sweep, sweeps/NAME/000, belongs where the project or product does that it is of.
    Of a temporary copy that DVC made for an experiment it is the project's. Resolved.
    """
    root = original(root)
    if root.parent.parent.name == SWEEPS and (root.parents[2] / STAGES).is_file():
        root = root.parents[2]
    around = root.parent.parent
    return around if root.parent.name == FOLDER and (around / STAGES).is_file() else root


def project(folder: Path) -> Path:
    """The project or product that a folder lies in: the nearest one around it, else itself."""
    folder = folder.resolve()
    for around in (folder, *folder.parents):
        if (around / "mlflow.db").is_file() or all(
            (around / name).is_file() for name in (PARAMS, STAGES)
        ):
            return around
    return folder


def folder(root: Path, name: str) -> Path:
    """The folder of a product by its name. Raises InputError for what is no name."""
    if not _NAME.fullmatch(name):
        raise InputError(
            f"{name!r} cannot name a product: take up to 63 small letters, digits, '.', '_' or "
            "'-', the first one a letter or a digit."
        )
    return home(root) / FOLDER / name


def existing(root: Path, name: str) -> Path:
    """The folder of a product that there is. Raises InputError with those there are."""
    place = folder(root, name)
    if (place / PARAMS).is_file():
        return place
    there = sorted(found.parent.name for found in place.parent.glob(f"*/{PARAMS}"))
    known = f"There are: {', '.join(there)}" if there else "There is none yet"
    raise InputError(f"no product is called {name}. {known}; `monge new NAME IMAGES` makes one.")


def write_stages(place: Path) -> bool:
    """Write a product's dvc.yaml as the checkout's own is now; whether it was another."""
    text = stages_of((home(place) / STAGES).read_text(encoding="utf-8")).encode("utf-8")
    file = place / STAGES
    if file.is_file() and file.read_bytes() == text:
        return False
    write_whole(file, text)
    return True


def stages_of(text: str) -> str:
    """A checkout's dvc.yaml as one for a product, two folders further down."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    moved = [re.sub(r"(?<=\s)(src|pipelines)/", r"../../\1/", line) for line in lines]
    return _HEADER + "\n".join(moved) + "\n"


def name_for(images: Path) -> str:
    """A product's name from that of its images: `My Cats.tar.gz` is `my-cats`, `кот` is `kot`.

    Letters of other alphabets are spelled by their names in Unicode. Where one has no spelling, the
    name ends in a hash of the original, so that two names in Chinese stay two.
    """
    stem = unicodedata.normalize("NFC", _ENDING.sub("", images.name)).casefold()
    spelled = [_spelled(letter) for letter in stem]
    slug = re.sub(r"[^a-z0-9]+", "-", "".join(each or "" for each in spelled)).strip("-")
    if slug and None not in spelled:
        return slug[:_LONGEST].strip("-")
    return with_hash(slug or "pictures", stem) if stem.strip(".") else "pictures"


def former_name_for(images: Path) -> str:
    """The name that images were given before, which their product keeps if there is one."""
    stem = re.sub(r"(\.tar)?\.[A-Za-z0-9]{1,4}$", "", images.name)
    plain = unicodedata.normalize("NFKD", stem.casefold()).encode("ascii", "ignore").decode("ascii")
    slug = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:_LONGEST].strip("-")
    return slug or "pictures"


def with_hash(name: str, text: str) -> str:
    """A product's name with a short hash of some text, which tells it from others like it."""
    mark = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:6]
    return f"{name[: _LONGEST - 7].strip('-')}-{mark}"


def _spelled(letter: str) -> str | None:
    """A letter in a to z; "-" for what separates words, None where there is no spelling."""
    plain = unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode("ascii").lower()
    if plain.isalnum():
        return plain
    named = _LETTER.fullmatch(unicodedata.name(letter, ""))
    if named is not None:
        said = named["said"].rpartition(" ")[2].lower()
        return _sound(said) if named["script"] in ("CYRILLIC", "GREEK") else said
    if unicodedata.category(letter) in ("Lm", "Mn"):
        return ""  # it lengthens or marks the letter before
    return None if letter.isalnum() else "-"


def _sound(said: str) -> str:
    """Turn a letter's name into its sound: ka, ef, ya and gamma are k, f, ya and g."""
    if said == "sign":  # hard or soft, of the letter before
        return ""
    found = re.match(r"e([flmnrs])$|([aeiouy]{1,2}$|[aeiou]|[^aeiou]+)", said)
    return "" if found is None else found[1] or found[2]
