"""A plan, a file for each format."""
