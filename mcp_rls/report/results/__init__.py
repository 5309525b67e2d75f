"""A test run, a file for each format."""
