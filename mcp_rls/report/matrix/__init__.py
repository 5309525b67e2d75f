"""A matrix of what each token may do, a file for each format."""
