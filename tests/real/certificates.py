"""Certificates for servers of tests."""

import subprocess
from pathlib import Path


def self_signed(folder: Path, host: str = "localhost") -> tuple[str, str]:
    """A certificate for *host* in *folder*, and its key: the paths of two PEM files."""
    certificate, key = str(folder / "server.crt"), str(folder / "server.key")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", f"/CN={host}"]
    command += ["-addext", f"subjectAltName=DNS:{host}", "-keyout", key, "-out", certificate]
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key
