"""Settings are read from the environment and documented; an error names the variable, its value and what is allowed."""

import os
import pwd
import socket
from datetime import timedelta

import pytest

from apidex.cli.main import COMMANDS
from apidex.errors import SettingsError
from apidex.settings import DEFAULT_UPSTREAM, RENAMED, SETTINGS, Settings, unknown_variables
from conftest import ROOT


@pytest.mark.parametrize("environ", [{}, {"APIDEX_PORT": ""}], ids=["unset", "empty"])
def test_a_variable_that_is_unset_or_empty_has_its_default(environ):
    settings = Settings.from_env(environ)
    assert (settings.host, settings.port, settings.upstream) == ("127.0.0.1", 8000, DEFAULT_UPSTREAM)
    assert settings.refresh == timedelta(hours=1)


def test_values_get_their_types_and_units():
    settings = Settings.from_env({"APIDEX_PORT": "0", "APIDEX_REFRESH_SECONDS": "1.5", "APIDEX_UPSTREAM": "file:///a"})
    assert (settings.port, settings.refresh, settings.upstream) == (0, timedelta(seconds=1.5), "file:///a")


def test_the_scheme_of_a_url_may_have_upper_case():
    for given, read in (("FILE:///A", "file:///A"), ("Https://User:A@b/C:D", "https://User:A@b/C:D")):
        assert Settings.from_env({"APIDEX_UPSTREAM": given}).upstream == read
    for given, read in (("REDISS://User:A@b/1", "rediss://User:A@b/1"), ("Unix:///A", "unix:///A")):
        assert Settings.from_env({"APIDEX_REDIS_URL": given}).redis_url == read


def test_every_type_of_redis_url_is_accepted():
    server = ("redis://redis:6379/0", "redis://redis", "rediss://user:p%40ss@host:1/2", "redis://[::1]:6379/")
    sentinel = ("redis+sentinel://a:26379,b:26379/main/0", "rediss+sentinel://user:p%40ss@[::1],b/my-main")
    for url in (*server, *sentinel, "unix:///run/redis.sock?db=1"):
        assert Settings.from_env({"APIDEX_REDIS_URL": url}).redis_url == url


REFUSED = [
    ("APIDEX_PORT", "a whole number from 0 to 65535", ["65536", "-1", "80a", "1_8000"]),
    ("APIDEX_PORT", "a whole number from 0 to 65535; Kubernetes sets this name", ["tcp://10.0.0.1:8000"]),
    ("APIDEX_REFRESH_SECONDS", "a number of seconds from 1 ", ["0", "nan", "inf", "1h"]),
    ("APIDEX_POLL_SECONDS", "from 0.05", ["0"]),
    ("APIDEX_MIN_ENTRIES_RATIO", "above 0 and up to 1", ["0", "1.1"]),
    ("APIDEX_UPSTREAM", "https: or http: or file:", ["ftp://a", "README.md", "https://"]),
    ("APIDEX_UPSTREAM", "https: or http: or file:", ["http://a:b", "file:", "http://a/\x1b"]),
    ("APIDEX_UPSTREAM_FORMAT", "auto, publicapis, markdown, csv, tsv, apis.guru", ["xml"]),
    ("APIDEX_UPSTREAM_LIMIT_BYTES", "a whole number from 1024", ["12"]),
    ("APIDEX_REDIS_URL", "redis://HOST:PORT/DB", ["localhost:6379", "redis://", "redis://localhost:6379/x"]),
    ("APIDEX_REDIS_URL", "unix:///PATH?db=DB", ["redis://localhost/0#x", "redis://localhost:99999", "unix://relative"]),
    (
        "APIDEX_REDIS_URL",
        "redis+sentinel://",
        ["redis+sentinel://a:1,b:2/", "redis+sentinel://a:x/m", "redis+sentinel://a/m/x"],
    ),
    ("APIDEX_REDIS_CA", "a file that exists", ["/nowhere.pem"]),
    ("APIDEX_UPSTREAM_REDIRECT_HOSTS", "host names", ["a b", "https://a", "a,,b"]),
    ("APIDEX_REDIS_PREFIX", "letters, digits", ["a b"]),
    ("APIDEX_LOG_FORMAT", "auto, json, text", ["JSON"]),
    ("APIDEX_HOST", "an address", ["a\nb"]),
    ("APIDEX_SERVED_BY", "printable ASCII", ["naïve"]),
]


@pytest.mark.parametrize(
    ("name", "allowed", "value"), [(name, allowed, value) for name, allowed, values in REFUSED for value in values]
)
def test_an_error_names_the_variable_its_value_and_what_is_allowed(name, allowed, value):
    with pytest.raises(SettingsError) as error:
        Settings.from_env({name: value})
    assert str(error.value).startswith(f"{name}: {value!r} is not allowed")
    assert allowed in str(error.value)
    assert "\n" not in str(error.value)


LOST = ", or requests would be lost at the end"
DRAIN, KEEP_ALIVE, ADMIN_PORT = "APIDEX_DRAIN_SECONDS", "APIDEX_KEEP_ALIVE_SECONDS", "APIDEX_ADMIN_PORT"

CONTRADICTIONS = {
    "a drain": ({DRAIN: "5"}, {}, f"{DRAIN}: 5", f"0, or more than the 5 of {KEEP_ALIVE}{LOST}"),
    "a keep-alive": ({KEEP_ALIVE: "20"}, {}, f"{KEEP_ALIVE}: 20", f"less than the 10 of {DRAIN}{LOST}"),
    "both": ({DRAIN: "15", KEEP_ALIVE: "20"}, {}, f"{DRAIN}: 15", f"0, or more than the 20 of {KEEP_ALIVE}{LOST}"),
    "ports": ({ADMIN_PORT: "8000"}, {}, f"{ADMIN_PORT}: 8000", "another port than that of APIDEX_PORT, or 0"),
    "an option": ({ADMIN_PORT: "80"}, {"port": "80"}, f"{ADMIN_PORT}: 80", "another port than that of --port, or 0"),
}


@pytest.mark.parametrize(("environ", "options", "named", "allowed"), CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_of_two_settings_that_contradict_each_other_one_that_was_given_is_named(environ, options, named, allowed):
    errors = Settings.read(environ, options)[1]
    assert [str(error) for error in errors.values()] == [f"{named} is not allowed; allowed is {allowed}"]


@pytest.mark.parametrize(
    "environ",
    [{DRAIN: "0"}, {"APIDEX_PORT": "0", ADMIN_PORT: "0"}, {"APIDEX_PORT": "x", ADMIN_PORT: "8000"}],
    ids=["no drain", "free ports", "a port that is not allowed by itself"],
)
def test_settings_that_do_not_contradict_each_other(environ):
    errors = Settings.read(environ, {})[1]
    assert not {"drain", "keep_alive", "admin_port"} & errors.keys()


def test_the_name_of_a_replica_is_one_that_a_header_may_have(monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "caf\udce9 1\n")
    assert Settings.from_env({}).served_by == "caf? 1?"


def test_a_user_without_a_home_has_no_directory_for_a_copy(monkeypatch):
    def unknown(uid):
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert Settings.from_env({}).state_dir is None


def test_a_secret_can_come_from_a_file(tmp_path):
    file = tmp_path / "upstream"
    for before, after in (("", "\n"), ("\ufeff", "\r\n")):
        file.write_text(f"{before}https://user:secret@example.org/entries{after}", newline="")
        settings = Settings.from_env({"APIDEX_UPSTREAM_FILE": str(file)})
        assert settings.upstream == "https://user:secret@example.org/entries"


def test_an_error_of_what_a_file_holds_names_the_variable_of_the_file(tmp_path):
    file = tmp_path / "upstream"
    file.write_text("ftp://a\n")
    with pytest.raises(
        SettingsError, match=r"^the content of APIDEX_UPSTREAM_FILE: 'ftp://a' is not allowed; allowed is a URL"
    ):
        Settings.from_env({"APIDEX_UPSTREAM_FILE": str(file)})


@pytest.mark.parametrize(
    ("environ", "text"),
    [
        ({"APIDEX_UPSTREAM_FILE": "/nowhere"}, "No such file"),
        ({"APIDEX_UPSTREAM_FILE": "/"}, "directory"),
        ({"APIDEX_UPSTREAM_FILE": "/a", "APIDEX_UPSTREAM": "https://a"}, "both set"),
        ({"APIDEX_UPSTREAM": "ftp://user:secret@a"}, "the value given is not allowed"),
        ({"APIDEX_REDIS_URL": "redis://localhost?password=secret"}, "the value given is not allowed"),
        ({"APIDEX_REDIS_PASSWORD": "secret\n"}, "the value given is not allowed"),
    ],
)
def test_an_error_does_not_show_a_secret(environ, text):
    with pytest.raises(SettingsError, match=text) as error:
        Settings.from_env(environ)
    assert "secret" not in str(error.value)


KEY = "-----BEGIN PRIVATE KEY-----\nsecret\n-----END PRIVATE KEY-----"


@pytest.mark.parametrize("name", [name for setting in SETTINGS for name in setting.variables])
@pytest.mark.parametrize("value", [KEY, KEY + "secret" * 1000], ids=["short", "too long for a path"])
def test_a_key_in_place_of_a_value_is_not_shown(name, value):
    with pytest.raises(SettingsError, match=f"^{name}") as error:
        Settings.from_env({name: value})
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("name", ["APIDEX_REDIS_CA", "APIDEX_REDIS_CERTIFICATE", "APIDEX_REDIS_KEY"])
@pytest.mark.parametrize("path", ["/" + "a" * 300, "/a" * 5000], ids=["name", "path"])
def test_a_path_that_is_too_long_is_an_error_that_names_the_variable(name, path):
    with pytest.raises(SettingsError, match=f"^{name}: .* the path of a file that exists$"):
        Settings.from_env({name: path})


def test_a_file_of_a_secret_may_be_a_link_as_kubernetes_mounts_it(tmp_path):
    (tmp_path / "..data").mkdir()
    (tmp_path / "..data/password").write_text("secret\n")
    (tmp_path / "password").symlink_to("..data/password")
    assert Settings.from_env({"APIDEX_REDIS_PASSWORD_FILE": str(tmp_path / "password")}).redis_password == "secret"


@pytest.mark.parametrize("name", [setting.variables[1] for setting in SETTINGS if setting.secret])
def test_what_never_ends_is_not_the_file_of_a_secret(name, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(b"a" * (2**16 + 1))
    for path, reason in (
        (tmp_path / "pipe", "not a regular file"),
        ("/dev/zero", "not a regular file"),
        (tmp_path / "large", "too large; allowed is the path of a text file of at most 65,536 bytes"),
    ):
        with pytest.raises(SettingsError, match=f"^{name}='{path}' cannot be read: it is {reason}"):
            Settings.from_env({name: str(path)})


def test_unknown_variables_are_found_with_the_most_similar_setting():
    environ = {"APIDEX_PROT": "1", "APIDEX_PORT": "1", "APIDEX_UPSTREAM_FILE": "x", "HOME": "/", "APIDEX_XYZZY": ""}
    assert unknown_variables(environ) == {"APIDEX_PROT": "APIDEX_PORT", "APIDEX_XYZZY": None}


@pytest.mark.parametrize("old", RENAMED)
def test_a_renamed_variable_is_an_error_that_names_the_new_one(old):
    with pytest.raises(SettingsError, match=f"^{old} was renamed to {RENAMED[old]} in 0.2.0.$"):
        Settings.from_env({old: "1"})
    assert unknown_variables({old: "1"}) == {}, "the error says enough"
    Settings.from_env({old: "", RENAMED[old]: "1"})


def default_of(setting) -> str:
    if setting.name == "served_by":
        return "the host's name"
    if setting.name == "state_dir":
        return "the user's cache directory"
    value = getattr(Settings(), setting.name)
    if value in ("", None):
        return "none"
    return f"`{value.total_seconds():g}`" if isinstance(value, timedelta) else f"`{value}`"


def row_of(setting) -> str:
    name = f"`{setting.variable}`" + r" \*" * setting.secret
    return f"| {name} | {default_of(setting)} | {setting.allowed} | {setting.description} |"


def test_every_setting_is_documented_as_declared_and_no_other():
    rows = [row_of(setting) for setting in SETTINGS]
    table = [line for line in (ROOT / "docs/settings.md").read_text().splitlines() if line.startswith("| `APIDEX_")]
    changed = "\n".join(row for row in rows if row not in table)
    assert table == rows, f"new or changed rows of the table in docs/settings.md:\n{changed}"


def test_an_option_wins_over_a_variable_and_its_error_names_the_option():
    environ = {"APIDEX_PORT": "x", "APIDEX_POLL_SECONDS": "2"}
    settings = Settings.from_env(environ, {"port": "1"})
    assert (settings.port, settings.poll) == (1, timedelta(seconds=2))
    with pytest.raises(SettingsError, match=r"^--poll-seconds: '0' is not allowed"):
        Settings.from_env({}, {"poll": "0"})
    assert {command for setting in SETTINGS for command in setting.commands} <= COMMANDS.keys()
