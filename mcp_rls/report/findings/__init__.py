"""Diagnostics, a file for each format."""
