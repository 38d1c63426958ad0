"""The mark of a generated picture: that it is one, of which generator, and what it was made from.

It is an XMP packet with IPTC's digital source type, as EU and platforms ask for, and with a recipe
that `monge sample --like` reads. A picture's packet is a template with one hole: nothing of XML is
built for it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import quoteattr

from monge import __version__
from monge.errors import InputError

if TYPE_CHECKING:
    from PIL import Image

SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
"""IPTC's word for what a trained model has made."""

MAX_RECIPE_BYTES = 32 << 10
"""A longer one (latents by the thousand) is left out: a mark is to be small beside its picture."""

Recipe = Mapping[str, Any]
Packet = Callable[[int | None], bytes]
"""The packet of picture i of a request, or of all of them as one grid (None)."""

_KEY = "XML:com.adobe.xmp"  # PNG's name for it
_MONGE = "urn:monge:picture/1/"
_IPTC = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
_MAX_PACKET_BYTES = 1 << 20
_SIGNATURES = (b"\x89PNG\r\n\x1a\n", b"RIFF")
_NOTHING = "no note of how it was made: only a PNG or WebP that monge wrote has one"


class Marker:
    """Marks the pictures of one generator."""

    def __init__(self, model_hash: str, model: str = "") -> None:
        """`model` is the address or the name of the file under which it can be had again."""
        self._before = (
            '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
            '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
            '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
            f'<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="{_IPTC}" '
            f'xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:monge="{_MONGE}" '
            f'Iptc4xmpExt:DigitalSourceType="{SOURCE_TYPE}" xmp:CreatorTool="monge {__version__}" '
            f'monge:Model={quoteattr(model)} monge:ModelHash="{model_hash}" monge:Recipe='
        )
        self._after = '/></rdf:RDF></x:xmpmeta><?xpacket end="r"?>'

    def packet(self, recipe: Recipe) -> bytes:
        """Build the packet of a picture that was made from this."""
        text = json.dumps(recipe, separators=(",", ":"), ensure_ascii=True)
        if len(text) > MAX_RECIPE_BYTES:
            text = "{}"
        return f"{self._before}{quoteattr(text)}{self._after}".encode()


@dataclass(frozen=True)
class Mark:
    """The statement of a picture about itself."""

    size: tuple[int, int]
    source_type: str
    tool: str
    model: str
    model_hash: str
    recipe: Recipe


def save(
    picture: Image.Image, place: Any, form: str, packet: bytes | None = None, **how: Any
) -> None:
    """Write a picture as PNG or lossless WebP, with its packet where there is one."""
    if form == "webp":
        mode = "RGBA" if picture.mode == "RGBA" else "RGB"
        marked = {} if packet is None else {"xmp": packet}
        picture.convert(mode).save(place, "WEBP", lossless=True, exact=True, **marked, **how)
        return
    if packet is not None:
        from PIL.PngImagePlugin import PngInfo

        how["pnginfo"] = PngInfo()
        how["pnginfo"].add_itxt(_KEY, packet.decode())
    picture.save(place, "PNG", **how)


def is_picture(path: str | Path) -> bool:
    """Tell whether a file begins as a PNG or a WebP does."""
    try:
        with Path(path).open("rb") as file:
            return file.read(8).startswith(_SIGNATURES)
    except (OSError, ValueError):
        return False


def read(path: Path) -> Mark:
    """Read a picture's mark. Raises InputError where there is none."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            image.load()
            size, info = image.size, image.info
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: is no picture that can be read: {error}.") from None
    packet = info.get("xmp") or info.get(_KEY) or b""
    values = _values(packet.encode() if isinstance(packet, str) else packet)
    try:
        recipe = json.loads(values.get(f"{{{_MONGE}}}Recipe", ""))
    except (ValueError, RecursionError):
        recipe = None
    if not isinstance(recipe, dict):
        raise InputError(f"{path}: {_NOTHING}.")
    return Mark(
        size,
        values.get(f"{{{_IPTC}}}DigitalSourceType", ""),
        values.get("{http://ns.adobe.com/xap/1.0/}CreatorTool", ""),
        values.get(f"{{{_MONGE}}}Model", ""),
        values.get(f"{{{_MONGE}}}ModelHash", ""),
        recipe,
    )


def _values(packet: bytes) -> dict[str, str]:
    """A packet's properties by name, whether a tool has left them attributes or not."""
    from xml.etree import ElementTree

    # Entities and document types have no place in XMP, and in a stranger's file may do harm.
    if len(packet) > _MAX_PACKET_BYTES or b"<!" in packet:
        return {}
    try:
        tree = ElementTree.fromstring(packet.strip(b"\0 \r\n"))
    except ElementTree.ParseError:
        return {}
    found: dict[str, str] = {}
    for element in tree.iter("{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description"):
        found |= dict(element.attrib)
        found |= {child.tag: child.text for child in element if child.text}
    return found
