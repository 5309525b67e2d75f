"""What came of hostile tokens, a file for each format."""
