"""What of a policy file was covered, a file for each format."""
