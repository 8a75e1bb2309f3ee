"""A validation for people: tables on the terminal, pictures, and one HTML page that holds everything."""
