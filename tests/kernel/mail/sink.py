"""A mail server in this process and loop, which does what a test tells it to."""

import asyncio
import ssl
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from typing_extensions import override

USERNAME = "courtyard"
PASSWORD = "mail-password-of-a-test"


@dataclass
class Sink:
    """Keeps what it is sent.

    Attributes:
        port: where it listens.
        taken: recipient and message of each mail that it has taken.
        logins: who has logged in, once for each connection.
        encrypted: whether each mail came over TLS.
        on_rcpt: what it says to a recipient.
        on_data: what it says to a message.
        hangs_at: `connect`, `data` or `quit`, where it says nothing any more.
        drops_at: `connect` or `data`, where it hangs up.
        fails: how many mails it sends away, with 451, before it takes one.
    """

    port: int = 0
    taken: list[tuple[str, EmailMessage]] = field(default_factory=list)
    logins: list[str] = field(default_factory=list)
    encrypted: list[bool] = field(default_factory=list)
    on_rcpt: str = "250 OK"
    on_data: str = "250 taken as 42"
    hangs_at: str = ""
    drops_at: str = ""
    fails: int = 0

    async def handle_RCPT(  # noqa: N802 - the names are those of the library
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if self.on_rcpt.startswith("2"):
            envelope.rcpt_tos.append(address)
        return self.on_rcpt

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        if self.drops_at == "data":
            assert isinstance(server.transport, asyncio.Transport)
            server.transport.abort()
        if self.hangs_at == "data":
            await asyncio.Event().wait()
        if self.fails > 0:
            self.fails -= 1
            return "451 come again later"
        if self.on_data.startswith("2"):
            assert isinstance(envelope.content, bytes)
            message = message_from_bytes(envelope.content, policy=policy.default)
            self.taken.append((envelope.rcpt_tos[0], message))
            assert server.transport is not None
            self.encrypted.append(session.ssl is not None or server.transport.get_extra_info("sslcontext") is not None)
        return self.on_data

    async def handle_QUIT(self, _server: SMTP, _session: Session, _envelope: Envelope) -> str:  # noqa: N802
        if self.hangs_at == "quit":
            await asyncio.Event().wait()
        return "221 Bye"

    def authenticate(
        self, _server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, auth_data: object
    ) -> AuthResult:
        assert isinstance(auth_data, LoginPassword)
        self.logins.append(auth_data.login.decode())
        return AuthResult(success=auth_data.password == PASSWORD.encode(), handled=False)


@dataclass(frozen=True)
class Certificate:
    """A certificate for `localhost` that nobody else trusts.

    Attributes:
        serving: the context of the server.
        trusting: the context of a client that trusts it, and nothing else.
    """

    serving: ssl.SSLContext
    trusting: ssl.SSLContext

    @classmethod
    def make(cls, folder: Path) -> "Certificate":
        """Make one; its files go into a folder."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(key, hashes.SHA256())
        )
        path = folder / "certificate.pem"
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        serving.load_cert_chain(path)
        return cls(serving, ssl.create_default_context(cafile=path))


@asynccontextmanager
async def open_sink(
    *, certificate: Certificate | None = None, implicit_tls: bool = False, login: bool = False
) -> AsyncIterator[Sink]:
    """Let a mail server listen, with STARTTLS where there is a certificate, or TLS from the first byte."""
    sink = Sink()
    loop = asyncio.get_running_loop()
    connections: set[SMTP] = set()

    class Connection(SMTP):
        @override
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            connections.add(self)
            if sink.drops_at == "connect":
                assert isinstance(transport, asyncio.Transport)
                transport.abort()
            elif sink.hangs_at != "connect":
                super().connection_made(transport)

        @override
        def connection_lost(self, error: Exception | None) -> None:
            if self.transport is not None:
                super().connection_lost(error)

    def connection() -> SMTP:
        starttls = certificate.serving if certificate and not implicit_tls else None
        with warnings.catch_warnings():
            # The library's, that a login needs TLS: with TLS from the first byte it sees none.
            warnings.simplefilter("ignore", UserWarning)
            return Connection(
                sink,
                hostname="localhost",
                enable_SMTPUTF8=True,
                loop=loop,
                tls_context=starttls,
                require_starttls=starttls is not None,
                auth_required=login,
                auth_require_tls=starttls is not None,
                authenticator=sink.authenticate if login else None,
            )

    server = await loop.create_server(
        connection, "127.0.0.1", 0, ssl=certificate.serving if certificate and implicit_tls else None
    )
    sink.port = server.sockets[0].getsockname()[1]
    try:
        yield sink
    finally:
        server.close()
        for each in connections:
            if isinstance(each.transport, asyncio.Transport):
                each.transport.abort()
            if each._handler_coroutine is not None:
                each._handler_coroutine.cancel()
        await asyncio.sleep(0)
