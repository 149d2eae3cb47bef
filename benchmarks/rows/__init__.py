"""The rows of the table. Each function measures the rows that share its programs."""
