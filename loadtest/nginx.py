"""nginx on a port of this machine, with files or before replicas."""

from pathlib import Path

from loadtest.system import tool

_CONFIGURATION = """
daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log; {main}
events {{ worker_connections 16384; }}
http {{
    access_log off; default_type application/json; {temporary}
    {http}
    server {{ listen 127.0.0.1:{port} backlog=4096; {server} }}
}}
"""

_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def command(folder: Path, port: int, server: str, *, http: str = "", main: str = "master_process off;") -> list[str]:
    """The command that runs it in the foreground, with its files in *folder*; the other arguments are parts of its configuration.

    Raises UnsupportedError where it is not installed.
    """
    temporary = " ".join(f"{what}_temp_path {folder}/temporary;" for what in _TEMPORARY)
    file = folder / "nginx.conf"
    file.write_text(
        _CONFIGURATION.format(folder=folder, port=port, server=server, http=http, main=main, temporary=temporary)
    )
    return [tool("nginx"), "-e", str(folder / "error.log"), "-c", str(file), "-p", str(folder)]
