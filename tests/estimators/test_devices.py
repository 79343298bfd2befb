"""An estimator that was pickled on a device which is not here."""

import copy
import pickle

import numpy as np
import pytest
import torch
from helpers.battery import Subject, stream

from forgetless.estimators import all_estimators


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
@pytest.mark.parametrize(("name", "cls"), all_estimators())
def test_a_pickle_of_a_gpu_loads_without_one(name, cls, monkeypatch):
    subject = Subject(cls)
    first, second, third = list(stream("domain"))[:3]
    estimator = subject.learned(subject.brief(), [first, second], n_rows=40)
    twin = copy.deepcopy(estimator)
    with monkeypatch.context() as patch:
        # Storages say that they are on a GPU, as they would there.
        patch.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")
        pickled = pickle.dumps(estimator)
    loaded = pickle.loads(pickled)
    assert np.array_equal(subject.bits(loaded), subject.bits(twin))
    learned = [subject.learned(e, [third], n_rows=40) for e in (loaded, twin)]
    assert np.array_equal(*map(subject.bits, learned))
