"""The rows of the table: each function measures a few that share their programs."""
