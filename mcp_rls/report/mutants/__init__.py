"""A mutation score, a file for each format."""
