"""The command that proves: test."""
