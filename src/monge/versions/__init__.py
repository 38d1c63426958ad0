"""Versions of a project's images: what is added, what each version has, and the way back.

DVC keeps the bytes, under the hash of all of them together; it is called as a program. What a
person asks about a version (when, who, how many of what) stands in `data/versions.jsonl`, a line
each.
"""
