"""Reads what a generator file may hold: known operators, all weights inside, no inner graph.

A file from outside is read here, field by field, before any runtime sees it. The reader knows as
much of protobuf's wire format as that takes, and skips the weights without copying them.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterator, Mapping

from monge.errors import ModelFileError

ALLOWED = frozenset({
    "Add", "Cast", "Clip", "Concat", "Conv", "ConvTranspose", "Gather", "Gemm",
    "InstanceNormalization", "LeakyRelu", "MatMul", "Mul", "Pad", "QuantizeLinear", "Relu",
    "Reshape", "Resize", "Round", "Sigmoid", "Slice", "Sub", "Tanh", "Transpose",
})  # fmt: skip
"""Each computes values from values. None reads a file, loops, branches, or draws random numbers."""

MAX_FILE_BYTES = (1 << 31) - 1
"""Protobuf's own limit; a file beyond it could not hold its weights."""

MAX_NODES = 10_000

WEIGHTS_KEY = "monge.weights_crc32"
"""In a file's metadata: what `weights_sum` gave when it was written."""

# Numbers of onnx.proto's fields.
_MODEL_GRAPH, _MODEL_FUNCTIONS = 7, 25
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_SPARSE = 1, 5, 15
_NODE_OPERATOR, _NODE_ATTRIBUTE, _NODE_DOMAIN = 4, 5, 7
_ATTRIBUTE_TENSOR, _ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS = 5, 6, 11
_TENSOR_EXTERNAL, _TENSOR_LOCATION = 13, 14

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_WIDTH = {_FIXED64: 8, _FIXED32: 4}

Value = int | memoryview


def check_operators(data: bytes, where: object = "the file") -> Counter[str]:
    """Count the operators of an ONNX file's bytes, which came from `where`.

    Raises ModelFileError for one that is not in ALLOWED, for weights outside of the file, graphs
    within the graph, functions, too large a file, and bytes that are no ONNX file.
    """
    try:
        return _checked(data)
    except ModelFileError as error:
        raise ModelFileError(f"{where}: {error}") from None


def _checked(data: bytes) -> Counter[str]:
    if len(data) > MAX_FILE_BYTES:
        raise ModelFileError("larger than 2 GiB, which no generator file is.")
    found: Counter[str] = Counter()
    graphs = 0
    for number, value in _fields(memoryview(data)):
        if number == _MODEL_FUNCTIONS:
            raise ModelFileError("defines functions of its own, which no generator file does.")
        if number == _MODEL_GRAPH:
            graphs += 1
            found += _operators(_message(value))
    if graphs != 1:
        raise _broken("it has no graph")
    return found


def weights_sum(data: bytes) -> str:
    """Return the CRC-32 of a file's weights, as eight hexadecimal digits.

    It finds damage, as one flipped bit; who might want to deceive is found by a signature. It takes
    2 ms for 10 MB, where a SHA-256 takes 13.
    """
    found = 0
    for number, value in _fields(memoryview(data)):
        for inner, tensor in _fields(_message(value)) if number == _MODEL_GRAPH else ():
            if inner == _GRAPH_INITIALIZER:
                found = zlib.crc32(_message(tensor), found)
    return f"{found:08x}"


def check_weights(data: bytes, metadata: Mapping[str, str], where: object) -> None:
    """Raise ModelFileError when a file's weights are not those it was written with.

    A file of an earlier monge does not say which those are.
    """
    told = metadata.get(WEIGHTS_KEY)
    if told is not None and told != weights_sum(data):
        raise ModelFileError(
            f"{where}: its weights are not those that were exported: the file was damaged on its "
            "way, or another tool changed it. Fetch or export it again."
        )


def _operators(graph: memoryview) -> Counter[str]:
    found: Counter[str] = Counter()
    nodes = 0
    for number, value in _fields(graph):
        if number == _GRAPH_INITIALIZER:
            _check_tensor(_message(value))
        elif number == _GRAPH_SPARSE:
            raise ModelFileError("has sparse weights, which no generator file has.")
        elif number == _GRAPH_NODE:
            nodes += 1
            if nodes > MAX_NODES:
                raise ModelFileError(f"has more than {MAX_NODES:,} operators.")
            found[_operator(_message(value))] += 1
    return found


def _operator(node: memoryview) -> str:
    name, domain = "", ""
    for number, value in _fields(node):
        if number == _NODE_OPERATOR:
            name = _text(value)
        elif number == _NODE_DOMAIN:
            domain = _text(value)
        elif number == _NODE_ATTRIBUTE:
            _check_attribute(_message(value))
    if domain not in ("", "ai.onnx") or name not in ALLOWED:
        full = f"{domain}.{name}" if domain else name
        raise ModelFileError(
            f"holds the operator {full[:80]!r}, which a generator file may not: it is limited to "
            f"{', '.join(sorted(ALLOWED))}."
        )
    return name


def _check_attribute(attribute: memoryview) -> None:
    for number, value in _fields(attribute):
        if number in (_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS):
            raise ModelFileError("holds a graph within its graph, which no generator file does.")
        if number == _ATTRIBUTE_TENSOR:
            _check_tensor(_message(value))


def _check_tensor(tensor: memoryview) -> None:
    for number, value in _fields(tensor):
        if number == _TENSOR_EXTERNAL or (number == _TENSOR_LOCATION and value != 0):
            raise ModelFileError("keeps weights in another file, which no generator file does.")


def _fields(message: memoryview) -> Iterator[tuple[int, Value]]:
    """Go through a message's fields: its number, and its integer or its bytes."""
    place = 0
    while place < len(message):
        tag, place = _varint(message, place)
        number, kind = tag >> 3, tag & 7
        if not 0 < number < 1 << 29:  # parsers differ in what they make of such a one
            raise _broken(f"a field of number {number}")
        if kind == _VARINT:
            value, place = _varint(message, place)
            yield number, value
            continue
        if kind == _BYTES:
            size, place = _varint(message, place)
        elif kind in _WIDTH:
            size = _WIDTH[kind]
        else:
            raise _broken(f"a field of kind {kind}")
        if size > len(message) - place:
            raise _broken("it ends too early")
        yield number, message[place : place + size]
        place += size


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    """Read an integer of 7 bits a byte, low ones first: it, and the place after it."""
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(message):
            raise _broken("it ends too early")
        byte = message[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise _broken("an integer of more than ten bytes")


def _message(value: Value) -> memoryview:
    if isinstance(value, int):
        raise _broken("a number where a message belongs")
    return value


def _text(value: Value) -> str:
    return bytes(_message(value)[:200]).decode("utf-8", "replace")


def _broken(problem: str) -> ModelFileError:
    return ModelFileError(f"not an ONNX file that can be read (truncated?): {problem}.")
