"""Suites and arguments that mean no good, or were typed at night: each ends with one sentence and the exit code 2."""

import os
import sys

import pytest

from forgetless.benchmarks.command import main

NAME = 'name = "x"\n'
STREAM = '[[streams]]\nname = "a"\ndataset = "iris"\nn_experiences = 3\n'
BAYES = 'strategies = [{ estimator = "sklearn.naive_bayes.GaussianNB" }]\n'
GOOD = NAME + BAYES + STREAM


def strategy(text):
    return f"{NAME}strategies = [{text}]\n{STREAM}"


def params(estimator, text):
    return strategy(f'{{ estimator = "{estimator}", params = {{ {text} }} }}')


def preprocess(text):
    return strategy(f'{{ estimator = "SLDA", preprocess = [{text}] }}')


def stream(text):
    return f'{NAME}{BAYES}[[streams]]\nname = "a"\ndataset = "iris"\n{text}\n'


SUITES = {
    # no TOML, or none that should be read
    "empty": ("", "'name' is missing"),
    "nul": ("\0", "is no TOML file"),
    "not utf-8": (b'name = "\xff\xfe"', "is no TOML file"),
    "utf-16": (GOOD.encode("utf-16"), "is no TOML file"),
    "yaml": ("name: x\nstrategies:\n  - Naive\n", "is no TOML file"),
    "json": ('{"name": "x"}', "is no TOML file"),
    "python": ("import os; os.system('touch pwned')", "is no TOML file"),
    "html": ("<script>alert(1)</script>", "is no TOML file"),
    "escape": ("\x1b[31mname = 1", "is no TOML file"),
    "pickle": (b"\x80\x04cos\nsystem\n", "is no TOML file"),
    "gzip": (b"\x1f\x8b\x08\x00", "is no TOML file"),
    "key twice": (NAME + GOOD, "is no TOML file"),
    "table twice": (GOOD + "[net]\n[net]\n", "is no TOML file"),
    "cut": (GOOD[:-10] + '"', "is no TOML file"),
    "surrogate": ('name = "\\ud800"', "is no TOML file"),
    "huge file": ("#" * 2_000_000, "has more than 1,000,000 bytes"),
    "nested arrays": ("x = " + "[" * 100_000, "is nested too deeply"),
    "nested tables": ("x = " + "{a=" * 100_000, "is nested too deeply"),
    "nested keys": ("a" + ".a" * 100_000 + " = 1", "is nested too deeply"),
    "nested quoted keys": ('"\\"".' * 100_000 + "a = 1", "is nested too deeply"),
    "nested parameters": (params("Naive", "alpha" + ".a" * 5_000 + " = 1"), "is nested too deeply"),
    "number of 5000 digits": ("seeds = " + "9" * 5_000, "is no TOML file"),
    "hexadecimal number without end": ("seeds = 0x" + "f" * 20_000, "an integer has more than 64 bits"),
    "its relative in parameters": (params("Replay", "buffer_size = 0x" + "f" * 20_000), "more than 64 bits"),
    # keys and types
    "name is a number": ("name = 1\n" + BAYES + STREAM, "'name' is wrong"),
    "name is empty": ('name = ""\n' + BAYES + STREAM, "a name must be printable"),
    "name clears the screen": ('name = "\\u001b[2J"\n' + BAYES + STREAM, "a name must be printable"),
    "name is turned round": ('name = "\\u202egpj.exe"\n' + BAYES + STREAM, "a name must be printable"),
    "strategy of two lines": (strategy('{ estimator = "Naive", name = "a\\nb" }'), "a name must be printable"),
    "strategy with a comma": (strategy('{ estimator = "Naive", name = "a,b" }'), "have no comma"),
    "key of an escape": ('"\\u001b[31m" = 1\n' + GOOD, "the key '\\x1b[31m' is unknown"),
    "key of a megabyte": ("k" * 900_000 + " = 1\n" + GOOD, "the key 'kkk"),
    "dunder key": ("__class__ = 1\n" + GOOD, "the key '__class__' is unknown"),
    "no strategies": (NAME + STREAM, "'strategies' is missing"),
    "no streams": (NAME + BAYES, "'streams' is missing"),
    "strategies are none": (NAME + "strategies = []\n" + STREAM, "nothing to run"),
    "streams are none": (NAME + BAYES + "streams = []\n", "nothing to run"),
    "strategies is a text": (NAME + 'strategies = "Naive"\n' + STREAM, "should be a valid list, not 'Naive'"),
    "strategies is a table": (NAME + "strategies = { a = 1 }\n" + STREAM, "should be a valid list"),
    "strategy is a number": (strategy("1"), "input should be a table, not 1"),
    "strategy is a list": (strategy('["Naive"]'), "input should be a table"),
    "strategy without estimator": (strategy('{ name = "a" }'), "'estimator' in number 1 of strategies is missing"),
    "estimator is a list": (strategy('{ name = "a", estimator = ["Naive"] }'), "should be a valid string"),
    "parameters are a text": (strategy('{ estimator = "Naive", params = "a" }'), "input should be a table, not 'a'"),
    "preprocess is a text": (strategy('{ estimator = "Naive", preprocess = "a" }'), "should be a valid list"),
    "same names": (strategy('"Naive", "Naive"'), "two have the name 'Naive'"),
    "same things": (strategy('"Naive", { estimator = "Naive", name = "b" }'), "the same thing under two names"),
    "10,000 strategies": (strategy('"Naive",' * 10_000), "at most 1000 items"),
    "streams of one name": (GOOD + STREAM, "two have the name 'a'"),
    "streams is a number": (NAME + BAYES + "streams = 1\n", "should be a valid list, not 1"),
    "stream is a text": (NAME + BAYES + 'streams = ["iris"]\n', "'iris'"),
    "net is a number": ("net = 5\n" + GOOD, "input should be a table, not 5"),
    "units are negative": (GOOD + "[net]\nhidden_units = [-5]\n", "should be greater than 0"),
    "units are endless": (GOOD + "[net]\nhidden_units = [inf]\n", "should be a valid integer"),
    "rate is no number": (GOOD + "[net]\nlr = nan\n", "'lr' in net is wrong"),
    "seeds are a date": ("seeds = 1979-05-27\n" + GOOD, "'seeds' is wrong"),
    "seeds are too many": ("seeds = 1000000000000\n" + GOOD, "less than or equal to 10000"),
    "seeds are a truth value": ("seeds = true\n" + GOOD, "should be a valid integer"),
    # streams
    "experiences without end": (stream("n_experiences = 1000000000"), "less than or equal to"),
    "their relative": (stream('builder = "permuted"\nn_experiences = 1000000000'), "less than or equal to"),
    "experiences are negative": (stream("n_experiences = -1"), "greater than 0"),
    "experiences are half": (stream("n_experiences = 2.5"), "should be a valid integer"),
    "more experiences than classes": (stream("n_experiences = 4"), "cannot fill 4 experiences"),
    "unknown data": (STREAM.join([NAME + BAYES, ""]).replace("iris", "../../etc/passwd"), "There is no data set"),
    "data of an escape": ((NAME + BAYES + STREAM).replace("iris", "\\u001b]0;x\\u0007"), "There is no data set"),
    "unknown builder": (stream('builder = "eval"'), "or 'column' or 'drift', not 'eval'"),
    "builder is a number": (stream("builder = 1"), "'builder' in number 1 of streams is wrong"),
    "builder is a table": (stream("builder = {}"), "'builder' in number 1 of streams is wrong"),
    "unknown scenario": (stream('scenario = "all"'), "'scenario' in number 1 of streams is wrong"),
    "negative seed of a stream": (stream("n_experiences = 3\nrandom_state = -1"), "greater than or equal to 0"),
    "large seed of a stream": (stream("n_experiences = 3\nrandom_state = 4294967296"), "less than 4294967296"),
    "order of tables": (stream("n_experiences = 3\nclass_order = [{}, {}]"), "'class_order'"),
    "order in order": (stream("n_experiences = 3\nclass_order = [[0], [1, 2]]"), "'class_order'"),
    "order of nothing": (stream("n_experiences = 3\nclass_order = []"), "must name each class of 'iris' once"),
    "order of strangers": (stream("n_experiences = 3\nclass_order = [7, 8, 9]"), "must name each class of 'iris' once"),
    "order of texts": (stream('n_experiences = 3\nclass_order = ["0", "1", "2"]'), "must name each class"),
    "order of no numbers": (stream("n_experiences = 3\nclass_order = [0.0, 1.0, nan]"), "a finite number, not nan"),
    # classes
    "code": (strategy('"__import__(\'os\').system(\'touch pwned\')"'), "is no import path"),
    "os": (strategy('"os.system"'), "a suite file may not import"),
    "relative": (strategy('".mod.Class"'), "is no import path"),
    "path": (strategy('"../mod.py"'), "is no import path"),
    "only dots": (strategy('"..."'), "a name must be printable"),
    "empty class": (strategy('""'), "a name must be printable"),
    "no class of scikit-learn": (strategy('"sklearn.naive_bayes.Nothing"'), "cannot be imported"),
    "no module of scikit-learn": (strategy('"sklearn.nothing.At"'), "cannot be imported"),
    "function": (strategy('"sklearn.base.clone"'), "is no scikit-learn estimator"),
    "module": (strategy('"sklearn.linear_model"'), "is no scikit-learn estimator"),
    "cannot learn": (strategy('"sklearn.svm.SVC"'), "cannot learn incrementally"),
    "abstract": (strategy('"sklearn.linear_model._stochastic_gradient.BaseSGD"'), "is abstract"),
    "needs arguments": (strategy('"sklearn.multiclass.OneVsRestClassifier"'), "cannot be made without arguments"),
    "regressor of ours": (strategy('"NaiveRegressor"'), "These strategies are regressors"),
    "not a transformer": (preprocess('"sklearn.naive_bayes.GaussianNB"'), "is no transformer"),
    "transformer needs arguments": (preprocess('"sklearn.compose.ColumnTransformer"'), "without arguments"),
    "no transformer of that name": (preprocess('"TableEncodr"'), "did you mean 'TableEncoder'"),
    "transformer from elsewhere": (preprocess('"os.system"'), "a suite file may not import"),
    # parameters
    "unknown parameter": (params("EWC", "lambda_ = 1"), "has no parameter 'lambda_'"),
    "parameter below zero": (params("EWC", "ewc_lambda = -1"), "'ewc_lambda' parameter of EWCClassifier must be"),
    "parameter is a text": (params("Replay", 'buffer_size = "x"'), "'buffer_size' parameter of ReplayClassifier"),
    "parameter is no number": (params("EWC", "ewc_lambda = nan"), "'ewc_lambda' parameter of EWCClassifier must be"),
    "parameter of a guest": (params("sklearn.naive_bayes.GaussianNB", "var_smoothing = -1"), "'var_smoothing'"),
    "parameter is a date": (params("Replay", "buffer_size = 1979-05-27"), "'buffer_size' parameter"),
    "net is a text": (params("Naive", 'net = "x"'), "net"),
    "net is a text with a rate": (params("Naive", 'net = "x", net__lr = 1.0'), "does not take its parameters"),
    "rate below zero": (params("Naive", "net__lr = -1.0"), "'lr' parameter"),
    "rate is a date": (params("Naive", "net__lr = 1979-05-27"), "'lr' parameter"),
    "epochs are a text": (params("Naive", 'net__max_epochs = "many"'), "'max_epochs' parameter"),
    "random state is a text": (params("Naive", 'random_state = "x"'), "'random_state' parameter"),
}  # fmt: skip

MODULES = {
    "raises.py": "raise RuntimeError('broken \\x1b[31m\\n on purpose')",
    "exits.py": "import sys; sys.exit(0)",
    "wrong.py": "def (",
    "mine.py": """
import abc
from sklearn.naive_bayes import GaussianNB
class Needs(GaussianNB):
    def __init__(self, what): self.what = what
class Abstract(GaussianNB, abc.ABC):
    @abc.abstractmethod
    def f(self): ...
class Exits(GaussianNB):
    def __init__(self): raise SystemExit
class Stars(GaussianNB):
    def __init__(self, *args): pass
class Plain: pass
number = 5
""",
}

ARGUMENTS = {
    "--strategies raises.Class": "'raises.Class' cannot be imported: RuntimeError: broken \\x1b[31m on purpose.",
    "--strategies exits.Class": "'exits.Class' cannot be imported: SystemExit: 0.",
    "--strategies wrong.Class": "'wrong.Class' cannot be imported: SyntaxError",
    "--strategies nowhere.Class": "modules are looked for in what is installed and in the current folder",
    "--strategies mine.Nothing": "cannot be imported: AttributeError",
    "--strategies mine.Needs": "cannot be made without arguments",
    "--strategies mine.Abstract": "is abstract",
    "--strategies mine.Exits": "cannot be made without arguments",
    "--strategies mine.Stars": "cannot be made without arguments",
    "--strategies mine.Plain": "is no scikit-learn estimator",
    "--strategies mine.number": "is no scikit-learn estimator",
    "--strategies .mine.Needs": "is no import path",
    "--strategies mine..Needs": "is no import path",
    "--strategies mine.": "is no import path",
    "--strategies \udcff\x1b": "There is no strategy '\\udcff\\x1b'",
    "--streams \x1b[2J": "has no stream '\\x1b[2J'",
    "--seeds 1000000000000": "Invalid value for '--seeds'",
    "--n-jobs 1000000000": "Invalid value for '--n-jobs'",
    "--device cuda:nine": "device is 'cuda:nine'",
    "--store \0": "null",
    "--report \0": "null",
}


@pytest.fixture
def refused(tmp_path, monkeypatch, capsys):
    """Run the command in this process; return what it says when it refuses."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())

    def refused(*args):
        before = sorted(os.listdir())
        monkeypatch.setattr(sys, "argv", ["forgetless", "run", *args])
        with pytest.raises(SystemExit) as caught:
            main()
        said = capsys.readouterr()
        assert caught.value.code == 2, said
        [line] = said.err.splitlines()
        assert line.startswith("forgetless: ")
        assert line.isprintable()
        assert len(line) < 10_000
        assert "Traceback" not in line
        assert "Value error" not in line
        assert said.out == ""
        assert sorted(name for name in os.listdir() if name != "__pycache__") == before
        return line

    return refused


@pytest.mark.parametrize("case", SUITES)
def test_suite(case, refused, tmp_path):
    text, words = SUITES[case]
    (tmp_path / "x.toml").write_bytes(text if isinstance(text, bytes) else text.encode())
    assert words in refused("x.toml", "--n-jobs", "1")


@pytest.mark.parametrize("arguments", ARGUMENTS)
def test_arguments(arguments, refused, tmp_path):
    for name, text in {**MODULES, "x.toml": GOOD}.items():
        (tmp_path / name).write_text(text)
    for name in MODULES:
        sys.modules.pop(name.removesuffix(".py"), None)
    assert ARGUMENTS[arguments] in refused("x.toml", "--n-jobs", "1", *arguments.split(" "))


@pytest.mark.parametrize("path", ["folder.toml", "pipe.toml", "/dev/zero", "gone.toml", "a\0b", "a" * 5_000, "\udcff"])
def test_what_is_no_file(path, refused, tmp_path):
    (tmp_path / "folder.toml").mkdir()
    os.mkfifo(tmp_path / "pipe.toml")
    assert "suite" in refused(path)


def test_all_wrong_parameters_are_named(refused, tmp_path):
    several = strategy(
        '{ estimator = "EWC", params = { ewc_lambda = -1, random_state = "x" } }, '
        '{ estimator = "SLDA", params = { shrinkage = 2.0 } }'
    )
    (tmp_path / "x.toml").write_text(several)
    line = refused("x.toml")
    assert all(f"'{name}' parameter" in line for name in ("ewc_lambda", "random_state", "shrinkage"))
    assert "'EWC': " in line
    assert "'SLDA': " in line
