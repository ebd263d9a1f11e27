"""Who we are to the servers, and whom we trust, by the variables of NATS's own command."""

import base64
import re
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import nkeys

from queue_agent.wire.errors import SettingsError

_JWT: Final = re.compile(r"BEGIN NATS USER JWT-+\s+([\w.=-]+)")
_SEED: Final = re.compile(r"^\s*(S[A-Z2-7]{40,})\s*$", re.MULTILINE)
"""Of a seed's file, and of a credentials file: https://github.com/nats-io/nkeys"""


class Credentials:
    """Files are read anew for each connection, since Secrets and certificates are renewed."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._given = {name: value for name, value in environment.items() if value}

    def options(self, *, tls: bool) -> Mapping[str, Any]:
        """What the client is told; with `tls` it trusts the system's authorities, or `NATS_CA`.

        Raises:
            SettingsError: one of the files cannot be read, or is none; a name without a password.
        """
        options: dict[str, Any] = {}
        if "NATS_CREDS" in self._given:
            options.update(self._of_file("NATS_CREDS"))
        elif "NATS_NKEY" in self._given:
            options["nkeys_seed_str"] = self._seed("NATS_NKEY")
        elif self._given.keys() & {"NATS_USER", "NATS_PASSWORD"}:
            self._demand("NATS_USER", beside="NATS_PASSWORD")
            self._demand("NATS_PASSWORD", beside="NATS_USER")
            options["user"] = self._given["NATS_USER"]
            options["password"] = self._given["NATS_PASSWORD"]
        # Servers can ask those for TLS who would have spoken without it.
        if tls or self._given.keys() & {"NATS_CA", "NATS_CERT", "NATS_KEY"}:
            options["tls"] = self._trust()
        return options

    def _demand(self, name: str, *, beside: str) -> None:
        if name not in self._given:
            raise SettingsError(f"{name} is not set, and {beside} is.")

    @property
    def remedy(self) -> str:
        """What to do where the servers know us not."""
        for names in (("NATS_CREDS",), ("NATS_NKEY",), ("NATS_USER", "NATS_PASSWORD")):
            if self._given.keys() >= set(names):
                return (
                    f"Do the servers know whom {' and '.join(names)} name, and is that valid still?"
                )
        return (
            "Say who asks, by NATS_CREDS (a credentials file), NATS_NKEY (a seed's file), or "
            "NATS_USER and NATS_PASSWORD."
        )

    def _text(self, name: str) -> str:
        try:
            return Path(self._given[name]).read_text(encoding="ascii", errors="replace")
        except OSError as error:
            raise SettingsError(
                f"{name}: {self._given[name]} cannot be read: {error.strerror}."
            ) from error

    def _seed(self, name: str) -> str:
        found = _SEED.search(self._text(name))
        try:
            if found is not None:
                nkeys.from_seed(bytearray(found[1], "ascii"))
                return found[1]
        except (nkeys.NkeysError, ValueError):  # from None: it may repeat the seed
            pass
        raise SettingsError(f"{name}: {self._given[name]} holds no seed of a user, SU….")

    def _of_file(self, name: str) -> Mapping[str, Callable[..., bytes]]:
        """By callbacks of ours: the client's own never end with a file that holds half of it."""
        jwt, seed = _JWT.search(self._text(name)), self._seed(name)
        if jwt is None:
            raise SettingsError(
                f"{name}: {self._given[name]} holds no JWT of a user, as `nsc generate creds` "
                "writes it; a file with a seed alone is for NATS_NKEY."
            )

        def signed(nonce: str) -> bytes:
            key = nkeys.from_seed(bytearray(seed, "ascii"))
            return base64.b64encode(key.sign(nonce.encode()))

        return {"user_jwt_cb": jwt[1].encode, "signature_cb": signed}

    def _trust(self) -> ssl.SSLContext:
        authority, certificate = self._given.get("NATS_CA"), self._given.get("NATS_CERT")
        if "NATS_KEY" in self._given:
            self._demand("NATS_CERT", beside="NATS_KEY")
        try:
            named = "NATS_CA"
            context = ssl.create_default_context(cafile=authority)
            if certificate is not None:
                named = "NATS_CERT or NATS_KEY"
                context.load_cert_chain(certificate, self._given.get("NATS_KEY"))
        except OSError as error:  # what ssl raises is one
            raise SettingsError(f"{named}: {error}.") from error
        return context
