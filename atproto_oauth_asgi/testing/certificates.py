"""A private certificate authority, made once per process and trusted by nobody else."""

from __future__ import annotations

import ssl
import tempfile
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

TlsFault = Literal["wrong name", "expired", "unknown authority"]
"""What can be wrong with the certificate that a host shows."""

_DAY = timedelta(days=1)


class Authority:
    """Signs certificates for host names of the in-process network."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name_of("atproto test network")
        self._certificate = self._sign_own()

    def client_context(self) -> ssl.SSLContext:
        """Return a context that trusts this authority and no other."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        pem = self._certificate.public_bytes(serialization.Encoding.PEM)
        context.load_verify_locations(cadata=pem.decode("ascii"))
        return context

    def server_context(self, host: str, *, age_days: int = 0) -> ssl.SSLContext:
        """Return a context that proves a host name; old ones have expired."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign(host, key, datetime.now(UTC) - age_days * _DAY)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        # OpenSSL reads keys from files only; this one is gone at once.
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "host.pem")
            path.write_bytes(_pem_of(key) + _pem_of(certificate))
            context.load_cert_chain(path)
        return context

    def _sign_own(self) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = _builder(self._name, self._key, now).issuer_name(self._name)
        builder = builder.not_valid_after(now + 3650 * _DAY).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        builder = builder.add_extension(_SIGNS_CERTIFICATES, critical=True)
        return builder.sign(self._key, hashes.SHA256())

    def _sign(
        self, host: str, key: ec.EllipticCurvePrivateKey, now: datetime
    ) -> x509.Certificate:
        builder = _builder(_name_of("host"), key, now).issuer_name(self._name)
        names = x509.SubjectAlternativeName([x509.DNSName(host)])
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(
            self._key.public_key()
        )
        builder = builder.not_valid_after(now + 30 * _DAY)
        builder = builder.add_extension(names, critical=False)
        builder = builder.add_extension(issuer, critical=False)
        return builder.sign(self._key, hashes.SHA256())


_SIGNS_CERTIFICATES = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


@cache
def authority() -> Authority:
    """Return the authority that the network's clients trust."""
    return Authority()


@cache
def _foreign_authority() -> Authority:
    return Authority()


@cache
def server_context(host: str, fault: TlsFault | None = None) -> ssl.SSLContext:
    """Return what a host shows, with nothing or one thing wrong."""
    if fault == "wrong name":
        return authority().server_context(f"not-{host}")
    if fault == "expired":
        return authority().server_context(host, age_days=60)
    if fault == "unknown authority":
        return _foreign_authority().server_context(host)
    return authority().server_context(host)


def _builder(
    name: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime
) -> x509.CertificateBuilder:
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _DAY)
        .add_extension(identifier, critical=False)
    )


def _name_of(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _pem_of(part: ec.EllipticCurvePrivateKey | x509.Certificate) -> bytes:
    if isinstance(part, x509.Certificate):
        return part.public_bytes(serialization.Encoding.PEM)
    return part.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
