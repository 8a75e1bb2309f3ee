"""Bundled traces; see the data card beside them."""
