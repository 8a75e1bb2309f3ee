"""Bundled traces; `README.md` beside them says where each comes from, with its hash.

They hold counts, tool names and seconds, and no text. Results in docs and tests depend on their bytes: add a
file, but do not edit one.
"""
