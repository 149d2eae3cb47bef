"""A team's own module of a name that is also a folder of Hookline."""

LINE = "{user} joined {room}\n"
