"""Everything that meets a PostgreSQL server, beginning with where the server comes from."""
