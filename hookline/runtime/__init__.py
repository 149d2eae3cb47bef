"""A running process: what the settings name is opened, served, watched and closed here."""
