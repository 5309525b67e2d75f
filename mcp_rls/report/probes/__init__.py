"""What probes found, a file for each format."""
