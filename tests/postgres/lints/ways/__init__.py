"""A file for each lint, with its name: `WAYS`, the cases that it is tried on."""
