"""Signatures of what is published: an HMAC-SHA256 of a file, kept beside it in a file that ends in `.sig`.

`manifest.json` and the JSON file of each delta hold the checksums of all other files, so these two are signed. Whoever
has the key can sign, so servers that verify must be trusted as the publisher is.
"""

import dataclasses
import hashlib
import hmac
import logging
import os
import stat
from pathlib import Path

from tfrs_twotower.durable import written_aside
from tfrs_twotower.errors import ConfigError, ExportError

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
            with open(path, "rb") as file:
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

    def sign(self, path: Path, content: bytes) -> None:
        """Writes the signature of the content that the file at `path` has, or will have."""
        with written_aside(signature(path)) as file:
            file.write(self._of(content).encode() + b"\n")

    def verify(self, path: Path, content: bytes) -> None:
        """Compares the content of the file at `path` with its signature.

        Raises:
          ExportError: there is no signature, or it is not that of this content by this key.
        """
        kept = signature(path)
        way_out = f"Publish it with --sign-key and the key of {self.path}."
        try:
            found = kept.read_bytes().strip()
        except OSError as error:
            raise ExportError(f"{path} is not signed: {kept.name} cannot be read ({error.strerror}). {way_out}") \
                from error
        if not hmac.compare_digest(found, self._of(content).encode()):
            raise ExportError(f"{kept} is not the signature of {path.name} by the key of {self.path}. {way_out}")

    def _of(self, content: bytes) -> str:
        return hmac.new(self.secret, content, hashlib.sha256).hexdigest()


def signature(path: Path) -> Path:
    """The file with the signature of the file at `path`: `manifest.sig` of `manifest.json`."""
    return path.with_suffix(".sig")
