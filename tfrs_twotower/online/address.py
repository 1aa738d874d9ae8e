"""Addresses of stores, and their form in messages."""

SQLITE = "sqlite:"
REDIS = ("redis://", "rediss://", "unix://")


def without_password(address: str) -> str:
    """The address as a message or a log may show it."""
    if not address.startswith(REDIS):
        return address
    scheme, _, rest = address.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}".partition("?")[0]
