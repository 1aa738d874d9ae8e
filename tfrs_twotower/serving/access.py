"""API keys and TLS: which clients may send requests, and the encryption of connections."""

import functools
import hashlib
import hmac
import ipaddress
import logging
import os
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING

from tfrs_twotower import extras
from tfrs_twotower.configuration import config
from tfrs_twotower.durable import content, opened
from tfrs_twotower.errors import ConfigError, invalid
from tfrs_twotower.serving.errors import CannotServe

if TYPE_CHECKING:
    from grpc import ServerCertificateConfiguration, ServerCredentials

grpc = extras.require("grpc")

_log = logging.getLogger(__name__)
_LEAST = 16  # characters of a key: a shorter one can be guessed


@config
class Access:
    """API keys and TLS of a server.

    Attributes:
      api_key_file: a file with one key in each line. A request carries one as `Authorization: Bearer KEY`, or as gRPC
        metadata of that name. Empty lines and lines that begin with # do not count. None: any client that can connect
        may send requests.
      tls_cert: a PEM file with the certificate and the certificates that sign it. With it, REST and gRPC are encrypted.
      tls_key: a PEM file with the certificate's private key, without a password.
      insecure: True allows an address that other machines can reach, without an API key.
    """

    api_key_file: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None
    insecure: bool = False

    def __post_init__(self) -> None:
        if (self.tls_cert is None) != (self.tls_key is None):
            given = "tls_cert" if self.tls_cert else "tls_key"
            missing = "tls_key" if self.tls_cert else "tls_cert"
            raise ConfigError(f"`{given}` needs `{missing}` beside it. Name the certificate and its key.")

    def keys(self) -> "ApiKeys | None":
        """The `ApiKeys`, or None without a file. Raises `CannotServe` if the file holds no key."""
        return None if self.api_key_file is None else ApiKeys(self.api_key_file)

    def check_tls(self) -> None:
        """Raises `CannotServe` if the certificate and the key cannot be read or do not belong together."""
        if self.tls_cert is None or self.tls_key is None:
            return
        try:
            for path in (self.tls_cert, self.tls_key):
                opened(path).close()  # OpenSSL would wait for the end of a pipe
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self.tls_cert, self.tls_key, lambda: b"")
        except OSError as error:  # ssl.SSLError is one
            raise CannotServe(
                f"The certificate {self.tls_cert} and the key {self.tls_key} cannot be used: {error}. "
                "Both must be PEM files, the key the certificate's and without a password."
            ) from error

    def credentials(self) -> "ServerCredentials | None":
        """gRPC's form of the certificate, which is read again when its files change; None without a certificate."""
        if self.tls_cert is None or self.tls_key is None:
            return None
        pair, newer = functools.partial(_pair, self.tls_cert, self.tls_key), self._newer()
        return grpc.dynamic_ssl_server_credentials(pair(), lambda: pair() if newer() else None)

    def follow(self, context: ssl.SSLContext) -> None:
        """Makes an `ssl.SSLContext` load a new certificate. The files are checked when a client connects, and the
        clients after that one see the new certificate."""
        newer = self._newer()

        def look(*hello: object) -> None:
            if newer():
                context.load_cert_chain(self.tls_cert, self.tls_key)  # type: ignore[arg-type]  # TLS has both

        context.sni_callback = look

    def _newer(self) -> Callable[[], bool]:
        """A function: Have the files changed since its last call, and do they hold a certificate and its key?"""
        changed = Changed(self.tls_cert, self.tls_key)  # type: ignore[arg-type]  # called with TLS alone: it has both

        def newer() -> bool:
            try:
                if not changed():
                    return False
                self.check_tls()
            except CannotServe as error:
                _log.error("The earlier certificate stays in use. %s", error)
                return False
            _log.info("A new certificate is in use, from %s", self.tls_cert)
            return True

        return newer

    def check_address(self, address: str) -> None:
        """Raises `CannotServe` if other machines could send requests without a key. Warns if they could read a key.

        Args:
          address: the IP address that the server listens on.
        """
        if not (ipaddress.ip_address(address).is_loopback or self.api_key_file or self.insecure):
            raise CannotServe(
                f"{address} can be reached from other machines, and no API key is required. Name a file of keys by "
                "--api-key-file (Access.api_key_file), listen on 127.0.0.1, or say --insecure if a network or a proxy "
                "keeps strangers out."
            )
        if self.api_key_file and self.tls_cert is None and not ipaddress.ip_address(address).is_loopback:
            _log.warning("API keys come over %s unencrypted. Name a certificate, or put a proxy before it.", address)


class Changed:
    """A callable that says whether one of the files has changed, appeared or vanished since its last call."""

    def __init__(self, *paths: str | os.PathLike[str]) -> None:
        self._paths = paths
        self._before = self._stamps()

    def __call__(self) -> bool:
        now = self._stamps()
        changed, self._before = now != self._before, now
        return changed

    def _stamps(self) -> list[tuple[int, int, int] | None]:
        return [_stamp(path) for path in self._paths]


class ApiKeys:
    """The keys of a file, which is read again when it changes. If the new file cannot be used, the earlier keys stay.

    Args:
      path: the file; see `Access`.

    Raises:
      CannotServe: the file cannot be read, holds no key, or holds a key that is too short, has a space or is not ASCII.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path, self._changed = path, Changed(path)
        self._digests = self._read()

    def know(self, authorization: str) -> bool:
        """Does the value of an `Authorization` header carry one of the keys? All wrong keys take the same time."""
        self._follow()
        scheme, _, key = authorization.partition(" ")
        given = _digest(key.strip())
        found = [hmac.compare_digest(given, digest) for digest in self._digests]
        return scheme.lower() == "bearer" and any(found)

    def _follow(self) -> None:
        if not self._changed():
            return
        try:
            self._digests = self._read()
            _log.info("%d API keys are known now, from %s", len(self._digests), self._path)
        except CannotServe as error:
            _log.error("The earlier API keys stay in use. %s", error)

    def _read(self) -> list[bytes]:
        try:
            lines = [line.strip() for line in content(self._path).decode().splitlines()]
        except (OSError, ValueError) as error:
            raise CannotServe(f"The file of API keys cannot be read: {error}.") from error
        keys = [line for line in lines if line and not line.startswith("#")]
        for place, key in enumerate(keys, start=1):
            if len(key) < _LEAST or not key.isascii() or " " in key:
                raise CannotServe(
                    f"Key {place} of {self._path} must have at least {_LEAST} characters, all ASCII, and no space. "
                    "Make one by: openssl rand -hex 32"
                )
        if not keys:
            raise CannotServe(invalid("api_key_file", "hold a key", str(self._path), "Write one key a line."))
        return [_digest(key) for key in keys]


def _pair(tls_cert: str, tls_key: str) -> "ServerCertificateConfiguration":
    return grpc.ssl_server_certificate_configuration([(content(tls_key), content(tls_cert))])


def _stamp(path: str | os.PathLike[str]) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)
        return found.st_mtime_ns, found.st_size, found.st_ino
    except OSError:
        return None


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
