"""A store's URL in what the command prints and writes: no password."""

import sqlite3

import pytest
from helpers.store import facts
from typer.testing import CliRunner

from forgetless.benchmarks import Store, command

URL = "postgresql://user:s3cr3t@host/name?sslpassword=s3cr3t"


def test_a_report_names_its_store_without_password(tmp_path, monkeypatch):
    """A store that is read from a file instead of the server of its URL."""

    def elsewhere(url, *, read_only):
        store = Store(tmp_path / "a.db")
        store.name = "postgresql://user:***@host"
        assert url == URL
        return store

    with Store(tmp_path / "a.db") as store:
        store.write(facts())
    monkeypatch.setattr("forgetless.benchmarks.store.Store", elsewhere)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["forgetless", "report", URL])  # it stands on the page
    done = CliRunner().invoke(command.app, ["report", URL])
    assert done.exit_code == 0, done.output
    page = (tmp_path / "report.html").read_text()
    assert "s3cr3t" not in done.output + page
    assert "forgetless report &#39;postgresql" in page


@pytest.mark.parametrize(
    "arguments", [["leaderboard", "nosuch://u:s3cr3t@h"], ["run", "quick", "--store", "mysql://u:s3cr3t@h/n"]]
)
def test_errors_of_the_command(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(command.app, arguments)
    assert done.exit_code == 2
    assert "s3cr3t" not in done.output + done.stderr
    assert "Traceback" not in done.output + done.stderr


def test_damage_is_said_in_a_sentence(tmp_path, monkeypatch, capsys):
    with Store(tmp_path / "a.db") as store:
        store.write(facts())
        store.write(facts("b", seed=1))
    with sqlite3.connect(tmp_path / "a.db") as connection:
        connection.execute("UPDATE cells SET strategy = 'x' || char(27) WHERE seed = 1")
    connection.close()
    monkeypatch.setattr("warnings.showwarning", None)  # it is put back afterwards
    monkeypatch.setattr("sys.argv", ["forgetless", "leaderboard", str(tmp_path / "a.db")])
    with pytest.raises(SystemExit) as stop:
        command.main()
    out, err = capsys.readouterr()
    assert not stop.value.code
    assert "Naive" in out
    assert err.startswith("forgetless: 1 cells of the store")
    assert err.count("\n") == 1 and "\x1b" not in err
