"""Puts what ONNX Runtime complains of into words for a person."""

from __future__ import annotations

import re

_KIND = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ")
_PLACE = re.compile(r"/onnxruntime_src/\S+:\d+ [^()]*\(.*?\) (?=\w)")  # of its own source
_NEWER = re.compile(r"opset \d+|IR version", re.I)


def one_line(error: Exception) -> str:
    """An exception's message without its line breaks, cut at 200 characters."""
    return " ".join(str(error).split())[:200]


def reason(error: Exception) -> str:
    """All that ONNX Runtime says, in one line, without where in its source it says so."""
    text = _KIND.sub("", " ".join(str(error).split()))
    return _PLACE.sub("", text)[:1000]


def refused(error: Exception, version: str) -> str:
    """Say why a file is not loaded by ONNX Runtime of this version, and what to do."""
    said = reason(error)
    if _NEWER.search(said):
        return (
            f"made for a newer ONNX Runtime than the {version} here: upgrade it (pip install "
            f"--upgrade onnxruntime), or export the file for an earlier opset. It says: {said}"
        )
    return f"not an ONNX file that can be loaded (truncated?): {said}"
