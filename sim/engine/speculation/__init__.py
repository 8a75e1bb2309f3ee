"""Speculative decoding: a step verifies several drafted tokens of a turn at once, and keeps those accepted.

Begin with `decoding.py`, which takes the place of `engine/decoding.py`. Whatever is drawn is drawn for a turn alone.
"""
