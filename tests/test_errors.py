"""What is shown of an error: never a password."""

from __future__ import annotations

import pytest

from equigrid.errors import InputError, masked

HIDDEN = "canary"


@pytest.mark.parametrize(
    ("uri", "text"),
    [
        ("postgresql://me:{}@host:5432/db", "cannot reach {uri}: no"),
        ("postgresql://me:{}-a/b?c#d@host/db", "cannot reach '{uri}': no"),
        ("postgresql://me:a@{}@host/db", 'could not translate host name "{}@host" to address'),
        ("postgresql://me:12/{}@host/db", "invalid literal for int() with base 10: '12/{}'"),
        ("postgresql://me:%63anary@host/db", "password {} of me is wrong"),
        ("https://{}@host/", "GET {uri}api: 401"),
        ("", "postgresql://host/db?user=me&password={}&sslmode=require"),
        ("", "host=there user=me password={} dbname=x"),
        ("", "http://a:{}@one and http://b:{}@two"),
    ],
)
def test_no_password_is_shown(uri: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = uri.format(HIDDEN)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    said = text.replace("{uri}", uri).replace("{}", HIDDEN)
    assert HIDDEN not in masked(said)
    assert HIDDEN not in str(InputError(said))
    plain = "cannot open https://zenodo.org/records/1/files/a.npz?download=1 (mail x@host)"
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert masked(plain) == plain
