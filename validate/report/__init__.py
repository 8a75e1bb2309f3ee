"""A validation for people: tables on the terminal, pictures, and one HTML page that holds everything.

`rows.py` makes the rows once, for terminal and page alike; `write.py` puts the report into the session's directory.
"""
