"""Conditions that a row which isn't seen could make true: what reads which table, and in which form."""
