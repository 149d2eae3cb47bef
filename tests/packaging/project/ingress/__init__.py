"""A team's own package of a name that is also a folder of Hookline."""


def shown(user: str) -> str:
    return user.upper()
