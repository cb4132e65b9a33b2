"""A kubectl for tests whose port-forward leads to a port of this machine; all else goes to the real kubectl.

A forwarding can be cut: its process is killed.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_KUBECTL = """#!{python} -SE
import asyncio, json, os, pathlib, sys

if "port-forward" not in sys.argv:
    os.execv({real!r}, [{real!r}, *sys.argv[1:]])
folder = pathlib.Path({folder!r})
service = sys.argv[2].removeprefix("service/")
ports = json.loads((folder / "services.json").read_text())
if service not in ports:
    sys.exit(f'Error from server (NotFound): services "{{service}}" not found')

async def pump(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()

async def relay(reader, writer):
    there = await asyncio.open_connection("127.0.0.1", ports[service])
    await asyncio.gather(pump(reader, there[1]), pump(there[0], writer), return_exceptions=True)

async def serve():
    server = await asyncio.start_server(relay, "127.0.0.1", 0)
    (folder / f"{{os.getpid()}}.forward").touch()
    print(f"Forwarding from 127.0.0.1:{{server.sockets[0].getsockname()[1]}} -> 8265", flush=True)
    await server.serve_forever()

asyncio.run(serve())
"""


class KubectlForward:
    """Its folder, whose `bin` goes first on the PATH."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        real = shutil.which("kubectl")
        assert real is not None
        self.programs = folder / "bin"
        self.programs.mkdir(parents=True)
        program = self.programs / "kubectl"
        program.write_text(_KUBECTL.format(python=sys.executable, real=real, folder=str(folder)))
        program.chmod(0o755)
        self.serve(0)

    def serve(self, port: int, *services: str) -> None:
        """Let port-forward find a port of this machine behind these services, and behind no other."""
        (self._folder / "services.json").write_text(json.dumps(dict.fromkeys(services, port)))

    def forwardings(self) -> list[int]:
        """Return the process ids of the forwardings that stand."""
        found = [int(path.stem) for path in self._folder.glob("*.forward")]
        return [pid for pid in found if Path(f"/proc/{pid}/cmdline").exists()]

    def cut(self) -> None:
        """Kill the forwardings, as a lost connection does."""
        for pid in self.forwardings():
            os.kill(pid, signal.SIGKILL)


@contextmanager
def kubectl_forward(folder: Path) -> Iterator[KubectlForward]:
    """Put such a kubectl into a folder; its forwardings end with the block."""
    made = KubectlForward(folder)
    try:
        yield made
    finally:
        made.cut()
