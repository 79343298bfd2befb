"""Streams: what they hold, in which scenario, and at what cost."""

import gc
import json
import pickle
import tracemalloc
import weakref

import numpy as np
import pytest
from helpers.streams import assert_same_experience, make_dataset, make_streams

from forgetless.datasets import (
    Dataset,
    Stream,
    blurry_stream,
    chunked_stream,
    column_stream,
    drift_stream,
    label_permuted_stream,
    load_digits,
    load_iris,
    permuted_stream,
    rotated_stream,
    site_stream,
    split_stream,
)


@pytest.fixture(scope="module")
def digits():
    return load_digits()


def permutations(stream):
    return [stream.permutations[index] for index in range(len(stream))]


def parts(dataset, part):
    return getattr(dataset, f"X_{part}"), getattr(dataset, f"y_{part}")


@pytest.mark.parametrize("which", range(5), ids=["class", "task", "domain", "permuted", "label-permuted"])
class TestEveryStream:
    @pytest.fixture
    def stream(self, which):
        return make_streams(make_dataset())[which]

    def test_is_a_sequence(self, stream):
        assert isinstance(stream, Stream)
        assert len(stream) == stream.n_experiences == 3
        assert [experience.index for experience in stream] == [0, 1, 2]
        assert_same_experience(stream[-1], stream[2])
        assert_same_experience(stream[np.int64(1)], stream[1])
        for index in (3, -4):
            with pytest.raises(IndexError, match=f"no experience {index} in a stream of 3"):
                stream[index]
            with pytest.raises(IndexError, match=f"no experience {index} in a stream of 3"):
                stream.test_set(index)
        with pytest.raises(TypeError):
            stream[0:2]

    def test_arrays_have_the_agreed_form(self, stream):
        for experience in stream:
            for X in (experience.X_train, experience.X_test):
                assert X.dtype == np.float64
                assert X.flags.c_contiguous
                assert X.shape[1] == stream.n_features == 3
            assert experience.classes.tolist() == sorted(experience.classes.tolist())
            assert set(experience.y_train) <= set(experience.classes) <= set(stream.classes)
            assert set(experience.y_test) <= set(experience.classes)

    def test_task_ids_only_in_the_task_scenario(self, stream):
        expected = [0, 1, 2] if stream.scenario == "task" else [None, None, None]
        assert [experience.task_id for experience in stream] == expected

    def test_test_set_is_that_of_the_experience_and_leaves_training_alone(self, stream, monkeypatch):
        expected = [(experience.X_test, experience.y_test) for experience in stream]

        def refuse(self, index):
            raise AssertionError("the training part was computed")

        monkeypatch.setattr(type(stream), "make_train_set", refuse)
        for j in (0, 1, 2, -1):
            np.testing.assert_array_equal(stream.test_set(j)[0], expected[j][0])
            np.testing.assert_array_equal(stream.test_set(j)[1], expected[j][1])
        with pytest.raises(AssertionError, match="training part"):
            stream[0]

    def test_experiences_own_their_arrays(self, stream):
        fingerprint = pickle.loads(pickle.dumps(stream.dataset)).fingerprint
        before = pickle.loads(pickle.dumps([stream[0], stream[1]]))
        for experience in stream:
            for name in ("X_train", "y_train", "X_test", "y_test", "classes"):
                getattr(experience, name)[:] = 99
        arrays = (stream.dataset.X_train, stream.dataset.y_train, stream.dataset.X_test, stream.dataset.y_test)
        assert Dataset("again", *arrays).fingerprint == fingerprint
        for old, new in zip(before, stream, strict=False):
            assert_same_experience(old, new)

    def test_keeps_no_experience(self, stream):
        gc.disable()
        try:
            experience = stream[1]
            references = [weakref.ref(experience), weakref.ref(experience.X_train), weakref.ref(experience.X_test)]
            del experience
            assert [reference() for reference in references] == [None] * 3
        finally:
            gc.enable()

    def test_pickles(self, stream):
        again = pickle.loads(pickle.dumps(stream))
        assert again.definition == stream.definition
        for a, b in zip(again, stream, strict=True):
            assert_same_experience(a, b)

    def test_is_reproducible_and_seeds_matter(self, which):
        dataset = make_dataset(labels=[10, 11, 12, 13, 14, 15])
        builders = [
            lambda seed: split_stream(dataset, 3, "class", random_state=seed),
            lambda seed: split_stream(dataset, 3, "task", random_state=seed),
            lambda seed: split_stream(dataset, 3, "domain", random_state=seed),
            lambda seed: permuted_stream(dataset, 3, random_state=seed),
            lambda seed: label_permuted_stream(dataset, 3, random_state=seed),
        ]
        build = builders[which]
        for a, b in zip(build(3), build(3), strict=True):
            assert_same_experience(a, b)
        assert build(3).definition == build(3).definition
        assert len({json.dumps(build(seed).definition) for seed in range(5)}) == 5
        by_generator = build(np.random.RandomState(3)), build(np.random.RandomState(3))
        assert by_generator[0].definition == by_generator[1].definition

    def test_definition_is_json_and_names_the_data(self, stream):
        definition = stream.definition
        assert json.loads(json.dumps(definition)) == definition
        assert definition["dataset"] == "made"
        assert definition["fingerprint"] == stream.dataset.fingerprint
        definition["dataset"] = "changed"
        assert stream.definition["dataset"] == "made"

    def test_global_generators_are_left_alone(self, which):
        before = np.random.get_state()
        stream = make_streams(make_dataset())[which]
        list(stream)
        after = np.random.get_state()
        np.testing.assert_array_equal(after[1], before[1])
        assert after[2:] == before[2:]

    def test_repr_is_short(self, stream):
        assert stream.name in repr(stream)
        assert len(repr(stream)) < 150
        assert len(repr(stream[0])) < 150


@pytest.mark.parametrize(
    "build",
    [
        split_stream,
        blurry_stream,
        site_stream,
        permuted_stream,
        label_permuted_stream,
        rotated_stream,
        lambda data, n: drift_stream(data, n_experiences=n),
        lambda data, n: column_stream(data, 0),
    ],
)
def test_classes_that_are_learned_nowhere_are_refused(build):
    X = np.zeros((4, 2))
    data = Dataset("d", X, [0, 0, 2, 2], X, [0, 1, 2, 9], image_shape=(1, 1, 2))
    with pytest.raises(ValueError, match=r"y_test of 'd' has classes that y_train lacks: \[1, 9\]"):
        build(data, 2)


class TestSplit:
    @pytest.mark.parametrize("scenario", ["class", "task"])
    @pytest.mark.parametrize("part", ["train", "test"])
    def test_union_is_the_data_set_and_classes_are_disjoint(self, digits, scenario, part):
        stream = split_stream(digits, 5, scenario, random_state=0)
        X, y = parts(digits, part)
        seen = []
        for experience in stream:
            assert not set(experience.classes) & set(seen)
            seen += experience.classes.tolist()
            rows = np.isin(y, experience.classes)  # with their order
            np.testing.assert_array_equal(parts(experience, part)[0], X[rows])
            np.testing.assert_array_equal(parts(experience, part)[1], y[rows])
        assert sorted(seen) == list(range(10))
        np.testing.assert_array_equal(stream.classes, digits.classes)

    @pytest.mark.parametrize("part", ["train", "test"])
    def test_domain_replaces_labels_by_places_in_the_experience(self, part):
        labels = ["f", "a", "e", "b", "d", "c"]
        order = ["c", "a", "f", "b", "e", "d"]
        dataset = make_dataset(labels=labels)
        stream = split_stream(dataset, 2, "domain", class_order=order)
        assert stream.classes.tolist() == [0, 1, 2]
        X, y = parts(dataset, part)
        for experience, group in zip(stream, (order[:3], order[3:]), strict=True):
            rows = np.isin(y, group)
            np.testing.assert_array_equal(parts(experience, part)[0], X[rows])
            assert parts(experience, part)[1].tolist() == [group.index(label) for label in y[rows]]
            assert parts(experience, part)[1].dtype == np.int64
            assert experience.classes.tolist() == [0, 1, 2]

    def test_explicit_class_order(self):
        order = [5, 0, 3, 1, 4, 2]
        stream = split_stream(make_dataset(), 3, class_order=order)
        assert [experience.classes.tolist() for experience in stream] == [[0, 5], [1, 3], [2, 4]]
        assert stream.definition["class_order"] == order

    def test_sorted_class_order(self):
        stream = split_stream(make_dataset(labels=["d", "b", "a", "c"], n_classes=4), 2, class_order="sorted")
        assert [experience.classes.tolist() for experience in stream] == [["a", "b"], ["c", "d"]]

    def test_definition_rebuilds_the_stream(self):
        stream = split_stream(make_dataset(), 3, random_state=7)
        again = split_stream(make_dataset(), 3, class_order=stream.definition["class_order"])
        assert again.definition == stream.definition
        for a, b in zip(again, stream, strict=True):
            assert_same_experience(a, b)

    def test_announcing_classes_is_part_of_the_definition_and_changes_no_data(self):
        said, news = (split_stream(load_iris(), 3, class_order="sorted", announce_classes=a) for a in (True, False))
        assert (said.announces_classes, news.announces_classes) == (True, False)
        assert said.definition == {**news.definition, "announce_classes": True}
        for a, b in zip(said, news, strict=True):
            assert_same_experience(a, b)

    def test_drawn_order_is_a_permutation_that_varies(self):
        orders = [tuple(split_stream(make_dataset(), 3, random_state=s).definition["class_order"]) for s in range(20)]
        assert all(sorted(order) == list(range(6)) for order in orders)
        assert len(set(orders)) > 15

    @pytest.mark.parametrize("scenario", ["class", "task"])
    def test_sizes_may_differ_by_one(self, digits, scenario):
        sizes = [len(experience.classes) for experience in split_stream(digits, 4, scenario, random_state=0)]
        assert sizes == [3, 3, 2, 2]

    def test_one_class_each_and_all_at_once(self, digits):
        assert [len(experience.classes) for experience in split_stream(digits, 10, random_state=0)] == [1] * 10
        assert len(split_stream(digits, 1)[0].X_train) == len(digits.X_train)

    def test_names(self, digits):
        assert split_stream(digits).name == "split-digits-5-class"
        assert split_stream(digits, 2, "domain").name == "split-digits-2-domain"
        assert split_stream(digits, name="mine").name == "mine"

    @pytest.mark.parametrize(
        ("arguments", "error", "message"),
        [
            ({"n_experiences": 0}, ValueError, "n_experiences"),
            ({"n_experiences": 2.0}, TypeError, "n_experiences"),
            ({"n_experiences": 7}, ValueError, "6 classes of 'made' cannot fill 7 experiences; .* 6 or less"),
            ({"scenario": "instance"}, ValueError, "scenario must be .* got 'instance'"),
            ({"n_experiences": 4, "scenario": "domain"}, ValueError, "cannot be shared out equally"),
            ({"n_experiences": 6, "scenario": "domain"}, ValueError, "two or more each"),
            ({"class_order": "random"}, ValueError, "class_order must be None, 'sorted' or a sequence"),
            ({"class_order": [0, 1, 2, 3, 4]}, ValueError, "must name each class of 'made' once"),
            ({"class_order": [0, 1, 2, 3, 4, 4]}, ValueError, "must name each class of 'made' once"),
            ({"class_order": [0, 1, 2, 3, 4, 6]}, ValueError, "must name each class of 'made' once"),
            ({"class_order": list("012345")}, ValueError, "must name each class of 'made' once"),
        ],
    )
    def test_says_what_is_wrong(self, arguments, error, message):
        with pytest.raises(error, match=message):
            split_stream(make_dataset(), **{"n_experiences": 3, **arguments})

    def test_default_does_not_fit_three_classes(self):
        with pytest.raises(ValueError, match="3 classes of 'iris' cannot fill 5 experiences"):
            split_stream(load_iris())

    def test_test_rows_must_fit_the_experiences(self):
        X = np.zeros((4, 1))
        with pytest.raises(ValueError, match=r"Experience 1 \(classes \[1\]\) of 'd' has no test rows"):
            split_stream(Dataset("d", X, [0, 0, 1, 1], X, [0, 0, 0, 0]), 2, class_order="sorted")


class TestPermuted:
    def test_train_and_test_share_one_permutation(self, digits):
        columns = np.arange(5, dtype=np.float32)
        dataset = Dataset("columns", np.tile(columns, (3, 1)), [0, 1, 1], np.tile(columns, (2, 1)), [1, 0])
        for experience in permuted_stream(dataset, 6, random_state=0):
            permutation = experience.X_train[0]
            assert sorted(permutation) == columns.tolist()
            assert (experience.X_train == permutation).all()
            assert (experience.X_test == permutation).all()

    def test_values_follow_the_permutation_and_labels_stay(self, digits):
        stream = permuted_stream(digits, 4, random_state=0)
        for experience, permutation in zip(stream, permutations(stream), strict=True):
            np.testing.assert_array_equal(experience.X_train, digits.X_train[:, permutation])
            np.testing.assert_array_equal(experience.X_test, digits.X_test[:, permutation])
            np.testing.assert_array_equal(experience.y_train, digits.y_train)
            np.testing.assert_array_equal(experience.y_test, digits.y_test)
            np.testing.assert_array_equal(experience.classes, digits.classes)
        assert stream.scenario == "domain"
        assert len({tuple(permutation) for permutation in permutations(stream)}) == 4

    def test_first_experience(self, digits):
        plain, permuted = (permuted_stream(digits, 3, random_state=0, permute_first=first) for first in (False, True))
        np.testing.assert_array_equal(plain[0].X_train, digits.X_train)
        assert not np.array_equal(permuted[0].X_train, digits.X_train)
        np.testing.assert_array_equal(plain[1].X_train, permuted[1].X_train)
        assert plain.definition != permuted.definition

    def test_a_longer_stream_begins_like_a_shorter_one(self, digits):
        short, long = permuted_stream(digits, 2, random_state=5), permuted_stream(digits, 6, random_state=5)
        np.testing.assert_array_equal(permutations(long)[:2], permutations(short))

    @pytest.mark.parametrize("random_state", [4, np.int64(4), np.random.RandomState(4), None])
    def test_definition_rebuilds_the_stream(self, random_state):
        stream = permuted_stream(make_dataset(), np.int64(3), random_state=random_state)
        definition = json.loads(json.dumps(stream.definition))
        again = permuted_stream(make_dataset(), definition["n_experiences"], random_state=definition["random_state"])
        for a, b in zip(again, stream, strict=True):
            assert_same_experience(a, b)

    def test_name_and_errors(self, digits):
        assert permuted_stream(digits).name == "permuted-digits-10"
        assert permuted_stream(digits, name="mine").name == "mine"
        with pytest.raises(ValueError, match="n_experiences"):
            permuted_stream(digits, 0)
        with pytest.raises(TypeError, match="n_experiences"):
            permuted_stream(digits, "3")
        with pytest.raises(ValueError, match="seed"):
            permuted_stream(digits, random_state="one")

    def test_some_rows_are_drawn_for_each_experience_anew(self):
        rows = np.arange(40, dtype=np.float32)
        dataset = Dataset("rows", np.column_stack([rows, -rows]), rows.astype(int) % 4, [[0, 0]], [0])
        stream = permuted_stream(dataset, 3, random_state=0, n_rows=15)
        drawn = [np.abs(experience.X_train[:, 0]).astype(int) for experience in stream]
        for own, experience in zip(drawn, stream, strict=True):
            assert len(set(own)) == 15
            np.testing.assert_array_equal(experience.y_train, own % 4)
            assert len(experience.X_test) == 1
        assert len({tuple(own) for own in drawn}) == 3
        assert stream.definition["n_rows"] == 15 and "n_rows" not in permuted_stream(dataset).definition
        with pytest.raises(ValueError, match="n_rows == 41"):
            permuted_stream(dataset, n_rows=41)

    def test_many_permutations_cost_the_memory_of_one(self):
        X = np.zeros((2000, 200), np.float32)
        stream = permuted_stream(Dataset("wide", X, np.arange(2000) % 2, X[:10], [0, 1] * 5), 50, random_state=0)
        tracemalloc.start()
        try:
            for _ in stream:
                pass
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        # The loop's variable still holds one experience while the next is made: two, and never fifty.
        assert X.nbytes < peak < 2.5 * X.nbytes


class TestLabelPermuted:
    def test_labels_change_and_inputs_stay(self):
        dataset = Dataset("words", np.eye(4), ["a", "b", "c", "b"], np.eye(4)[:3], ["c", "a", "b"])
        stream = label_permuted_stream(dataset, 6, random_state=0, permute_first=True)
        names = set()
        for experience, permutation in zip(stream, permutations(stream), strict=True):
            called = dict(zip("abc", np.array(["a", "b", "c"])[permutation], strict=True))
            names.add(tuple(called.values()))
            np.testing.assert_array_equal(experience.X_train, dataset.X_train)
            np.testing.assert_array_equal(experience.X_test, dataset.X_test)
            assert experience.y_train.tolist() == [called[label] for label in "abcb"]
            assert experience.y_test.tolist() == [called[label] for label in "cab"]
            assert experience.classes.tolist() == ["a", "b", "c"]
        assert len(names) > 2 and stream.scenario == "domain"

    def test_first_experience_and_name(self, digits):
        stream = label_permuted_stream(digits, 2, random_state=0)
        np.testing.assert_array_equal(stream[0].y_train, digits.y_train)
        assert (stream[1].y_train != digits.y_train).any()
        assert stream.name == "label-permuted-digits-2"

    def test_definition_rebuilds_the_stream(self, digits):
        stream = label_permuted_stream(digits, 3)
        definition = json.loads(json.dumps(stream.definition))
        again = label_permuted_stream(digits, definition["n_experiences"], random_state=definition["random_state"])
        for a, b in zip(again, stream, strict=True):
            assert_same_experience(a, b)

    def test_numbers_are_refused(self):
        with pytest.raises(ValueError, match="label_permuted_stream needs classes"):
            label_permuted_stream(Dataset("numbers", [[0.0], [1.0]], [0.5, 1.5], [[0.0]], [0.5]))


def test_a_notebook_shows_what_a_stream_is_as_text_without_computing_it(digits, monkeypatch):
    stream = split_stream(digits, n_experiences=5)
    stream.name = "<script>alert(1)</script>"
    monkeypatch.setattr(type(stream), "__getitem__", None)
    shown = stream._repr_html_()
    assert "class-incremental" in shown and ">10 classes<" in shown and ">digits<" in shown
    assert "<script>" not in shown and "&lt;script&gt;" in shown


@pytest.mark.parametrize(
    "build",
    [
        blurry_stream,
        chunked_stream,
        column_stream,
        drift_stream,
        label_permuted_stream,
        permuted_stream,
        rotated_stream,
        site_stream,
        split_stream,
    ],
)
def test_arrays_are_no_data_set(build):
    options = {"column": 0} if build is column_stream else {}
    with pytest.raises(TypeError, match=r"dataset is a tuple; give a Dataset, such as Dataset\('mine', X_train"):
        build((np.zeros((4, 2)), [0, 1, 0, 1]), **options)
