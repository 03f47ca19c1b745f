"""An SMTP server on a free port of 127.0.0.1 that writes every message to the folder given as its argument."""

import asyncio
import pathlib
import sys

from aiosmtpd.smtp import SMTP


class Keep:
    def __init__(self, folder):
        self.folder, self.count = pathlib.Path(folder), 0

    async def handle_DATA(self, server, session, envelope):
        self.count += 1
        lines = [f"X-Envelope-To: {to}".encode() for to in envelope.rcpt_tos]
        part = self.folder / f".{self.count}"
        part.write_bytes(b"\n".join(lines) + b"\n" + envelope.content)
        part.rename(self.folder / f"{self.count}.eml")
        return "250 OK"


async def main():
    keep = Keep(sys.argv[1])
    server = await asyncio.get_running_loop().create_server(lambda: SMTP(keep), "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    print(f"{host}:{port}", flush=True)
    await server.serve_forever()


asyncio.run(main())
