"""Who may ask a server, and how what is said stays between the two."""

import hashlib
import hmac
import ipaddress
import logging
import ssl

from tfrs_twotower import extras
from tfrs_twotower.config import config
from tfrs_twotower.errors import ConfigError, invalid
from tfrs_twotower.serving.errors import CannotServe

grpc = extras.require("grpc")

_log = logging.getLogger(__name__)
_LEAST = 16  # characters of a key: less can be guessed


@config
class Access:
    """The door of a server.

    Attributes:
      api_key_file: a file with one key a line; requests carry one as `Authorization: Bearer KEY`, or as gRPC metadata
        of that name. Empty lines and lines that begin with # do not count. None: whoever can connect may ask.
      tls_cert: a PEM file with the certificate and those that sign it. With it REST and gRPC are encrypted.
      tls_key: a PEM file with the certificate's private key, without a password.
      insecure: True allows an address that other machines reach without an API key.
    """

    api_key_file: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None
    insecure: bool = False

    def __post_init__(self):
        if (self.tls_cert is None) != (self.tls_key is None):
            given = "tls_cert" if self.tls_cert else "tls_key"
            missing = "tls_key" if self.tls_cert else "tls_cert"
            raise ConfigError(f"`{given}` needs `{missing}` beside it. Name the certificate and its key.")

    def keys(self):
        """The `ApiKeys`, or None. Raises `CannotServe` for a file that holds none."""
        return None if self.api_key_file is None else ApiKeys(self.api_key_file)

    def check_tls(self):
        """Raises `CannotServe` for a certificate and a key that are no pair."""
        if self.tls_cert is None:
            return
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self.tls_cert, self.tls_key, lambda: b"")
        except OSError as error:  # ssl.SSLError is one
            raise CannotServe(
                f"The certificate {self.tls_cert} and the key {self.tls_key} cannot be used: {error}. "
                "Both must be PEM files, the key the certificate's and without a password."
            ) from error

    def credentials(self):
        """gRPC's form of the certificate; None without one."""
        if self.tls_cert is None or self.tls_key is None:
            return None
        with open(self.tls_cert, "rb") as certificate, open(self.tls_key, "rb") as key:
            return grpc.ssl_server_credentials([(key.read(), certificate.read())])

    def check_address(self, address):
        """Raises `CannotServe` where other machines could ask without a key; warns where they could read one.

        Args:
          address: the IP address that is listened on.
        """
        if not (ipaddress.ip_address(address).is_loopback or self.api_key_file or self.insecure):
            raise CannotServe(
                f"{address} can be reached from other machines, and nothing says who may ask. Name a file of keys by "
                "--api-key-file (Access.api_key_file), listen on 127.0.0.1, or say --insecure where a network or a "
                "proxy keeps others out."
            )
        if self.api_key_file and self.tls_cert is None and not ipaddress.ip_address(address).is_loopback:
            _log.warning("API keys come over %s unencrypted: name a certificate, or put a proxy before it", address)


class ApiKeys:
    """The keys of a file.

    Args:
      path: the file, see `Access`.

    Raises:
      CannotServe: it cannot be read, holds no key, or one that is too short or no plain text.
    """

    def __init__(self, path):
        try:
            with open(path, encoding="utf-8") as file:
                lines = [line.strip() for line in file]
        except (OSError, ValueError) as error:
            raise CannotServe(f"The file of API keys cannot be read: {error}.") from error
        keys = [line for line in lines if line and not line.startswith("#")]
        for place, key in enumerate(keys, start=1):
            if len(key) < _LEAST or not key.isascii() or " " in key:
                raise CannotServe(
                    f"Key {place} of {path} must have at least {_LEAST} characters, all ASCII, and no space. "
                    "Make one by: openssl rand -hex 32"
                )
        if not keys:
            raise CannotServe(invalid("api_key_file", "hold a key", str(path), "Write one key a line."))
        self._digests = [_digest(key) for key in keys]

    def know(self, authorization):
        """Does the value of an `Authorization` header carry one of the keys? Takes equally long for any wrong one."""
        scheme, _, key = authorization.partition(" ")
        given = _digest(key.strip())
        found = [hmac.compare_digest(given, digest) for digest in self._digests]
        return scheme.lower() == "bearer" and any(found)


def _digest(key):
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
