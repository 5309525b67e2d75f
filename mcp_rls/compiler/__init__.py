"""From a policy file to the state a database should have; each stage a pure function."""
