"""A validation's report: tables on the terminal, figures, and one HTML page that holds everything."""
