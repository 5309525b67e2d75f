"""What drift found, a file for each format."""
