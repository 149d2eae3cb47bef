"""A running process: opens what the settings name, serves, and shuts down."""
