"""Rollback: an older version becomes champion again, by one alias."""

from __future__ import annotations

from dataclasses import dataclass

from monge.errors import InputError
from monge.registry.models import Registry, Version


@dataclass(frozen=True)
class Rollback:
    """The champion that is now, and the one before."""

    champion: Version
    before: Version


def rollback(registry: Registry, reason: str, to: int | None = None) -> Rollback:
    """Make version `to` champion, or `previous` when none is named; why is kept in its tags.

    The champion's alias moves first: it is what applications follow, and a call that was killed
    after it has done what was urgent. Raises InputError when there is nothing to go back to.
    """
    with registry.turn():
        versions = {version.number: version for version in registry.versions()}
        champion = _aliased(versions, "champion")
        if champion is None:
            raise InputError(f"{registry.name}: there is no champion to roll back from.")
        target = _aliased(versions, "previous") if to is None else versions.get(to)
        if target is None:
            listed = ", ".join(map(str, versions))
            wanted = "no version is `previous`" if to is None else f"there is no version {to}"
            raise InputError(f"{registry.name}: {wanted}. Name one with --to: {listed}.")
        if target.number == champion.number:
            raise InputError(f"{registry.name}: version {target.number} is the champion already.")
        note = f"from version {champion.number}: {reason}"
        registry.set_tags(target, {"monge.rollback": note})
        registry.set_alias("champion", target)
        registry.set_alias("previous", champion)
        return Rollback(target, champion)


def _aliased(versions: dict[int, Version], alias: str) -> Version | None:
    return next((version for version in versions.values() if alias in version.aliases), None)
