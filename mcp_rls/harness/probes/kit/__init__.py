"""What the probes share: facts of the schema, acting with a control, rows that a token may write, verdicts."""
