"""The command line, the settings, and the one place where things are wired together."""
