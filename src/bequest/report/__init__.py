"""Rows to charts to verdicts to one offline HTML file."""
