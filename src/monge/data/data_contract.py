"""The contract of the data: what images must keep, before they take the place of the old ones."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from monge.data.packed import Images
from monge.errors import SourceError
from monge.params import ContractParams


@dataclass
class Measured:
    """The numbers that the contract speaks of, counted while the images are packed.

    `classes` counts the images of each, to train on and held out together; `small` has images with
    a side below the bound, `near` those that look like another one.
    """

    images: int = 0
    classes: dict[str, int] = field(default_factory=dict)
    small: list[str] = field(default_factory=list)
    near: int = 0
    copies: int = 0
    _known: set[bytes] = field(default_factory=set)

    def add(self, images: Images, *, copies: bool) -> None:
        """Count images uint8 [n, C, H, W] and, if asked, those that were there already."""
        self.images += len(images)
        if copies:
            for image in images:
                digest = hashlib.blake2b(image.tobytes(), digest_size=16).digest()
                self.copies += digest in self._known
                self._known.add(digest)


def require(contract: ContractParams, measured: Measured, shown: str) -> None:
    """Raise SourceError that names each figure which breaks the contract, its bound and a way."""
    broken = list(_broken(contract, measured))
    if broken:
        lines = "\n".join(f"  {line}" for line in broken)
        raise SourceError(
            f"{shown}: the images break prepare.contract; what was packed before stays.\n{lines}"
        )


def _broken(contract: ContractParams, measured: Measured) -> Iterator[str]:
    total, of = measured.images, measured.classes
    if total < contract.min_images:
        yield f"images: {total}, at least {contract.min_images} (min_images): add some"
    few = {name: count for name, count in of.items() if count < contract.min_images_per_class}
    if few:
        yield (
            f"images of {_listed(few)}: at least {contract.min_images_per_class} of each class "
            "(min_images_per_class): add some, or leave the class out"
        )
    yield from _other_classes(contract, of)
    if measured.small:
        yield (
            f"{len(measured.small)} images, {measured.small[0]} among them, have a side of under "
            f"{contract.min_side} pixels (min_side): remove them"
        )
    largest = max(of, key=lambda name: of[name], default="")
    shares = (
        (of.get(largest, 0), contract.max_class_fraction, f"of the class {largest}",
         "max_class_fraction", "add images of the others"),
        (measured.copies, contract.max_copies_fraction, "exact copies of others",
         "max_copies_fraction", "remove them"),
        (measured.near, contract.max_near_copies_fraction, "like another one",
         "max_near_copies_fraction", "see `look at` below prepare, and remove them"),
    )  # fmt: skip
    for count, bound, what, key, way in shares:
        if count > bound * total:
            yield f"{count / total:.1%} are {what}, at most {bound:.1%} ({key}): {way}"


def _other_classes(contract: ContractParams, of: dict[str, int]) -> Iterator[str]:
    wanted = {name.strip() for name in contract.class_names.split(",")} - {""}
    if not wanted:
        return
    if missing := sorted(wanted - of.keys()):
        yield f"no image of the classes {', '.join(missing)} (class_names): add some"
    if other := sorted(of.keys() - wanted):
        yield f"classes that are not agreed on: {', '.join(other)} (class_names): move them away"


def _listed(counts: dict[str, int]) -> str:
    few = sorted(counts.items(), key=lambda item: item[1])[:5]
    more = f" and {len(counts) - 5} more classes" if len(counts) > 5 else ""
    return ", ".join(f"{name} {count}" for name, count in few) + more
