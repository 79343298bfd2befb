"""Guests that do not do what they should: answers of another kind, exits, hangs, deaths."""

import contextlib
import os
import signal
import sys
import time

import numpy as np
from sklearn.linear_model import SGDClassifier
from sklearn.naive_bayes import GaussianNB


class Columns(GaussianNB):
    def predict(self, X):
        return super().predict(X)[:, None]


class Lists(GaussianNB):
    def predict(self, X):
        return super().predict(X).tolist()


class Objects(GaussianNB):
    def predict(self, X):
        return super().predict(X).astype(object)


class Masked(GaussianNB):
    def predict(self, X):
        return np.ma.masked_less(super().predict(X), 1)


class OneAnswer(GaussianNB):
    def predict(self, X):
        return super().predict(X)[:1]


class TooManyAnswers(GaussianNB):
    def predict(self, X):
        return np.repeat(super().predict(X), 2)


class Scalars(GaussianNB):
    def predict(self, X):
        return super().predict(X)[0]


class Texts(GaussianNB):
    def predict(self, X):
        return super().predict(X).astype(str)


class Holes(GaussianNB):
    def predict(self, X):
        answers = super().predict(X).astype(float)
        answers[0] = np.nan
        return answers


class Nothing(GaussianNB):
    def predict(self, X):
        return None


class Probabilities(GaussianNB):
    def predict(self, X):
        return self.predict_proba(X)


class Numbers(GaussianNB):
    def predict(self, X):
        return super().predict(X) + 0.25


class ChangesData(GaussianNB):
    def predict(self, X):
        answers = super().predict(X)
        X *= 0
        return answers


class ChangesLabels(GaussianNB):
    def partial_fit(self, X, y, classes=None):
        y[:] = y[0]
        return super().partial_fit(X, y, classes)


class CountsWrongly(GaussianNB):
    def memory_usage(self):
        return {"weights": "many"}


class Exits(GaussianNB):
    def partial_fit(self, X, y, classes=None):
        sys.exit("I leave")


class StopsItself(GaussianNB):
    def partial_fit(self, X, y, classes=None):
        raise KeyboardInterrupt


class Unspeakable(Exception):
    def __str__(self):
        raise RuntimeError("no words")


class RaisesUnspeakable(GaussianNB):
    def partial_fit(self, X, y, classes=None):
        raise Unspeakable


class RaisesBase(GaussianNB):
    def partial_fit(self, X, y, classes=None):
        raise BaseException("of no kind")


class RaisesSurrogate(GaussianNB):
    def partial_fit(self, X, y, classes=None):
        raise ValueError("half \ud800 and \0 and \x1b[2J\nand more")


class RaisesNovel(GaussianNB):
    def partial_fit(self, X, y, classes=None):
        raise ValueError("word " * 100_000)


class Dies(GaussianNB):
    def partial_fit(self, X, y, classes=None):
        os._exit(3)


class IsKilled(GaussianNB):
    def partial_fit(self, X, y, classes=None):
        os.kill(os.getpid(), signal.SIGKILL)


class DiesOnce(GaussianNB):
    """Dies where there is no file, which it makes."""

    def __init__(self, path=None, priors=None, var_smoothing=1e-9):
        super().__init__(priors=priors, var_smoothing=var_smoothing)
        self.path = path

    def partial_fit(self, X, y, classes=None):
        if not os.path.exists(self.path):
            open(self.path, "w").close()
            os._exit(3)
        return super().partial_fit(X, y, classes)


class Hangs(GaussianNB):
    def partial_fit(self, X, y, classes=None):
        while True:
            time.sleep(0.01)


class HangsForGood(GaussianNB):
    """Takes the end of its time for a stop of its own."""

    def partial_fit(self, X, y, classes=None):
        while True:
            with contextlib.suppress(BaseException):
                time.sleep(0.01)


class TakesSignalsForItsOwn(GaussianNB):
    """Stops early at a KeyboardInterrupt, as some libraries do; it comes in the second experience."""

    def partial_fit(self, X, y, classes=None):
        self.n_calls_ = getattr(self, "n_calls_", 0) + 1
        try:
            if self.n_calls_ == 2:
                signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            return self
        return super().partial_fit(X, y, classes)


class Sleeps(GaussianNB):
    """Takes a while, and tells when it began."""

    def __init__(self, seconds=0.0, random_state=None, path=None):
        super().__init__()
        self.seconds = seconds
        self.random_state = random_state
        self.path = path

    def partial_fit(self, X, y, classes=None):
        if not hasattr(self, "classes_"):
            with open(self.path, "a") as file:
                file.write(f"{self.seconds} {self.random_state}\n")
            time.sleep(self.seconds)
        return super().partial_fit(X, y, classes)


class Slow(SGDClassifier):
    """Learns, and takes its time for each call."""

    def partial_fit(self, X, y, classes=None, sample_weight=None):
        time.sleep(0.1)
        return super().partial_fit(X, y, classes, sample_weight)
