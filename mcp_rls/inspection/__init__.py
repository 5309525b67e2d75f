"""A whole database as values, for lints: everything that decides who reaches a row, and expressions as trees."""
