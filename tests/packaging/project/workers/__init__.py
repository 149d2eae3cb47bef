"""A team's own package of a name that is also a folder of Hookline."""

FILE = "attendance.txt"
