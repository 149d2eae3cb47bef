"""Worker files, as a team would write them, whose functions do nothing but note what they were called with."""
