"""Signatures of what is published: an HMAC-SHA256 of what a file is for, and of its content.

`manifest.json` and the list of a version's deltas hold the checksums of all other files, so these two are signed. A
manifest says the model and the version, a list the manifest that it belongs to. Whoever has the key can sign, so
servers that verify must be trusted as the publisher is.
"""

import dataclasses
import hashlib
import hmac
import logging
import os
import stat
from pathlib import Path

from tfrs_twotower.durable import content, opened, written_aside
from tfrs_twotower.errors import ConfigError, ExportError

MANIFEST, ROWS = b"twotower manifest", b"twotower rows of users"  # what is signed
_LEAST_BYTES = 32
_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Key:
    """A secret key, with which versions are signed and verified.

    Attributes:
      secret: at least 32 bytes.
      path: the file that holds it, for messages.
    """

    secret: bytes = dataclasses.field(repr=False)
    path: str

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> "Key":
        """The key in a file: all of its bytes, without line breaks at the end. Warns if all users may read the file.

        Raises:
          ConfigError: the file cannot be read, or is too short.
        """
        path = os.fspath(path)
        way_out = f"Make one: (umask 077; openssl rand -hex 32 > {path})"
        try:
            with opened(path) as file:
                mode, secret = os.fstat(file.fileno()).st_mode, file.read().rstrip(b"\r\n")
        except OSError as error:
            raise ConfigError(f"The key file {path} cannot be read ({error.strerror}). {way_out}") from error
        if len(secret) < _LEAST_BYTES:
            raise ConfigError(
                f"The key file {path} must hold at least {_LEAST_BYTES} bytes. Received: {len(secret)} bytes. {way_out}"
            )
        if mode & stat.S_IROTH:
            _log.warning("All users of this machine can read the key file %s. Run: chmod 600 %s", path, path)
        return cls(secret, path)

    def sign(self, path: Path) -> None:
        """Writes the signature of the manifest at `path`. No other user may be able to write to it."""
        with written_aside(signature(path)) as file:
            file.write(self._of(MANIFEST, content(path)) + b"\n")

    def verify(self, path: Path, said: bytes) -> None:
        """Compares `said`, the content of the manifest at `path`, with its signature.

        Raises:
          ExportError: there is no signature, or it is not that of this content by this key.
        """
        kept = signature(path)
        try:
            found = content(kept).strip()
        except OSError as error:
            raise ExportError(f"{path} is not signed: {kept.name} cannot be read ({error.strerror}). {self._way_out}") \
                from error
        if not hmac.compare_digest(found, self._of(MANIFEST, said)):
            raise ExportError(f"{kept} is not the signature of {path.name} by the key of {self.path}. {self._way_out}")

    def write_signed(self, path: Path, what: bytes, said: bytes) -> None:
        """Writes a file of `said` whose first line is the signature, so that both change at once.

        what: `ROWS`; a signature of one kind is none of another.
        """
        with written_aside(path) as file:
            file.write(self._of(what, said) + b"\n" + said)

    def read_signed(self, path: Path, what: bytes) -> bytes:
        """What `write_signed` wrote. Raises `ExportError` if the signature is wrong, `OSError` if there is no file."""
        found, _, said = content(path).partition(b"\n")
        if not hmac.compare_digest(found, self._of(what, said)):
            raise ExportError(f"{path} is not signed by the key of {self.path}. {self._way_out}")
        return said

    @property
    def _way_out(self) -> str:
        return f"Publish it with --sign-key and the key of {self.path}."

    def _of(self, what: bytes, said: bytes) -> bytes:
        return hmac.new(self.secret, what + b"\n" + said, hashlib.sha256).hexdigest().encode()


@dataclasses.dataclass(frozen=True)
class Seal:
    """What signs or verifies the deltas of one version.

    Attributes:
      key: a `Key`.
      identity: the checksum of the version's manifest, to which the deltas are bound.
    """

    key: Key
    identity: str


def signature(path: Path) -> Path:
    """The file with the signature of the file at `path`: `manifest.sig` of `manifest.json`."""
    return path.with_suffix(".sig")
