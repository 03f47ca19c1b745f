"""A real SMTP server (aiosmtpd) on a free port of 127.0.0.1 that keeps what it takes and prints its address.

Every message that was taken or refused is written to the folder as N.eml (with X-Envelope-To lines before it) and, parsed
as MIME, as N.json. Options say how it is reached and what it answers.
"""

import argparse
import asyncio
import email
import email.policy
import json
import pathlib
import ssl

from aiosmtpd.smtp import SMTP, AuthResult


def mime(content):
    """The message as a mail client sees it: headers, and the parts with their types and texts."""
    message = email.message_from_bytes(content, policy=email.policy.default)
    parts = [part for part in message.walk() if not part.is_multipart()]
    return {
        "type": message.get_content_type(),
        "headers": {name: str(value) for name, value in message.items()},
        "defects": [str(defect) for part in message.walk() for defect in part.defects],
        "parts": [{"type": part.get_content_type(), "text": part.get_content()} for part in parts],
    }


class Keep:
    def __init__(self, options):
        self.folder, self.answers, self.count = pathlib.Path(options.folder), list(options.answer), 0

    async def handle_DATA(self, server, session, envelope):
        self.count += 1
        answer = self.answers.pop(0) if self.answers else "250 OK"
        record = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "tls": session.ssl is not None or isinstance(server.transport.get_extra_info("sslcontext"), ssl.SSLContext),
            "auth": session.auth_data.login.decode() if session.authenticated and session.auth_data else None,
            "hello": session.host_name,
            "answer": answer,
            "mime": mime(envelope.content),
        }
        self.write(f"{self.count}.json", json.dumps(record).encode())
        lines = [f"X-Envelope-To: {to}".encode() for to in envelope.rcpt_tos]
        self.write(f"{self.count}.eml", b"\n".join(lines) + b"\n" + envelope.content)
        return answer

    def write(self, name, content):
        part = self.folder / f".{name}"
        part.write_bytes(content)
        part.rename(self.folder / name)


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--tls", choices=["none", "starttls", "implicit"], default="none")
    parser.add_argument("--cert")
    parser.add_argument("--key")
    parser.add_argument("--login", help="user:password that clients must give")
    parser.add_argument("--answer", action="append", default=[], help="to the next message, such as '451 later'")
    options = parser.parse_args()
    context = None
    if options.tls != "none":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(options.cert, options.key)

    def authenticate(server, session, envelope, mechanism, data):
        user, _, password = (options.login or ":").partition(":")
        right = data.login == user.encode() and data.password == password.encode()
        return AuthResult(success=right, auth_data=data) if right else AuthResult(success=False, handled=False)

    keep = Keep(options)
    smtp = dict(
        hostname="sink",
        tls_context=context if options.tls == "starttls" else None,
        require_starttls=options.tls == "starttls",
        authenticator=authenticate if options.login else None,
        auth_required=options.login is not None,
        auth_require_tls=options.tls == "starttls",
    )
    outer = context if options.tls == "implicit" else None
    server = await asyncio.get_running_loop().create_server(lambda: SMTP(keep, **smtp), "127.0.0.1", 0, ssl=outer)
    host, port = server.sockets[0].getsockname()
    print(f"{host}:{port}", flush=True)
    await server.serve_forever()


asyncio.run(main())
