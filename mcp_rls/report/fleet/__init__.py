"""A command on many databases, a file for each format."""
