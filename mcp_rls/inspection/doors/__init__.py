"""What leads round the ceilings in a database: what functions do and as whom, and which tables decide."""
