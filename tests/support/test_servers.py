"""A Redis or a Postgres of one's own for a test in Python; tools/services starts, kills and ends it.

    with Servers(only="redis", options=["--redis", "maxmemory 10mb"]) as servers:
        servers.redis_url                  # redis://127.0.0.1:PORT/0
        servers.kill("redis")              # kill -9
        servers.start("redis")             # again, on the same port; Redis empty, Postgres with what was committed
        servers.freeze("redis")            # SIGSTOP; thaw goes on

They end with the with block, and with this process also when it is killed.
"""
import os
import shlex
import subprocess
import tempfile

_services = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tools", "services")


class Servers:
    def __init__(self, only=None, options=()):
        self.dir = tempfile.mkdtemp(prefix="fabra-servers.", dir="/tmp")
        self.env = {}  # what `start` says to export
        self._options = list(options)
        self.start(only, "--while", str(os.getpid()), *self._options)

    def _run(self, *arguments):
        return subprocess.run([_services, *arguments, "--dir", self.dir], check=True, stdout=subprocess.PIPE, text=True).stdout

    def start(self, only=None, *options):
        """Starts what does not run. Fails if a server comes back on another port."""
        out = self._run("start", *(["--only", only] if only else []), *options)
        said = dict(word.split("=", 1) for word in shlex.split(out) if word != "export")
        for name, url in said.items():
            if self.env.get(name, url) != url:
                raise RuntimeError(f"{name} was {self.env[name]} and is {url}: the port was taken in between")
        self.env.update(said)

    redis_url = property(lambda self: self.env["FABRA_REDIS_URL"])
    postgres_url = property(lambda self: self.env["FABRA_POSTGRES_URL"])

    def kill(self, which):
        self._run("kill", which)

    def freeze(self, which):
        self._run("freeze", which)

    def thaw(self, which):
        self._run("thaw", which)

    def status(self):
        """Lines such as 'redis: runs, process 123, port 456'."""
        return subprocess.run([_services, "status", "--dir", self.dir], stdout=subprocess.PIPE, text=True).stdout.splitlines()

    def stop(self):
        self._run("stop")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
