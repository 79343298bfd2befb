"""The style of the plots: colours, places of labels, and SVG that a page can take."""

import itertools
import re
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from forgetless.reports import example_results, figures, plot_curves

# Severe deficiencies of colour vision, by Machado, Oliveira & Fernandes (2009), on linear RGB.
VISION = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}


def linear(color):
    channels = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)


def contrast(a, b):
    """Of WCAG 2."""
    darker, lighter = sorted(float(linear(color) @ [0.2126, 0.7152, 0.0722]) for color in (a, b))
    return (lighter + 0.05) / (darker + 0.05)


def oklab(rgb):
    """Ottosson (2020): distances are about as large as they look."""
    lms = np.cbrt(
        np.array(
            [
                [0.4122214708, 0.5363325363, 0.0514459929],
                [0.2119034982, 0.6806995451, 0.1073969566],
                [0.0883024619, 0.2817188376, 0.6299787005],
            ]
        )
        @ np.clip(rgb, 0, 1)
    )
    return (
        np.array(
            [
                [0.2104542553, 0.793617785, -0.0040720468],
                [1.9779984951, -2.428592205, 0.4505937099],
                [0.0259040371, 0.7827717662, -0.808675766],
            ]
        )
        @ lms
    )


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_families_can_be_told_apart_by_everybody(scheme, vision):
    """Most palettes that are called safe have pairs at 0.06; black and white are 1 apart."""
    seen = {
        name: oklab(np.asarray(VISION[vision]) @ linear(getattr(look, scheme)))
        for name, look in figures.FAMILIES.items()
    }
    for a, b in itertools.combinations(seen, 2):
        assert np.linalg.norm(seen[a] - seen[b]) > 0.085, (a, b)


@pytest.mark.parametrize(("scheme", "k"), [("light", 0), ("dark", 1)])
def test_contrast_is_enough(scheme, k):
    surface = figures.INKS["surface"][k]
    for name, look in figures.FAMILIES.items():
        assert contrast(getattr(look, scheme), surface) >= 3, name  # what is no text
    for name in ("ink", "muted"):
        assert contrast(figures.INKS[name][k], surface) >= 4.5, name


def test_markers_differ_and_colours_are_no_others():
    looks = figures.FAMILIES.values()
    assert len({look.marker for look in looks}) == len(looks)
    inks = {pair[0] for pair in figures.INKS.values()}
    assert len(inks | {look.light for look in looks}) == len(figures.INKS) + len(looks)  # a page replaces them by name


def test_looks_follow_the_family_whoever_else_is_there():
    runs = pd.DataFrame({"strategy": list("abcde"), "family": ["replay", "own", None, "replay", "replay"]})
    looks = figures.looks(runs)
    assert [look.family for look in looks.values()] == ["replay", "other", "other", "replay", "replay"]
    assert looks["a"].color == looks["d"].color == figures.looks(runs[3:])["d"].color
    assert len({str(looks[name].dashes) for name in "ade"}) == 3


def test_labels_keep_their_distance_and_order():
    rng = np.random.default_rng(0)
    for n in (1, 2, 25):
        values = np.round(rng.random(n), 1)
        places = np.array(figures.spread(values, 0.03, 0.0, 1.0))
        assert np.diff(np.sort(places)).min(initial=1) > 0.03 - 1e-6
        assert places.min() > -1e-9
        assert places.max() < 1 + 1e-9
        assert (np.diff(places[np.argsort(values, kind="stable")]) >= -1e-9).all()


def test_labels_of_points_overlap_nothing_while_there_is_room():
    rng = np.random.default_rng(1)
    points = rng.uniform(60, 540, size=(12, 2))
    taken = [(x - 6, y - 6, x + 6, y + 6) for x, y in points]
    for x, y in points:
        box = figures.free_box(x, y, (60, 13), taken, (0, 0, 600, 600))
        for other in taken:
            assert box[0] >= other[2] or box[2] <= other[0] or box[1] >= other[3] or box[3] <= other[1]
        taken.append(box)
    # Where there is none, it is where it hides least.
    assert figures.free_box(5, 5, (60, 13), [], (0, 0, 10, 10)) == (5, 5, 65, 18)


def test_svg_has_the_colours_of_the_page_and_ids_of_its_own():
    texts = [
        figures.svg(lambda: plot_curves(example_results(), highlight=["Replay"]), name, "A <label>") for name in "ab"
    ]
    assert texts[0].replace('"a-', '"b-').replace("#a-", "#b-") == texts[1]
    root = ElementTree.fromstring(texts[0])
    assert root.get("aria-label") == "A <label>"
    ids = [each.get("id") for each in root.iter() if each.get("id")]
    assert ids and len(ids) == len(set(ids)) and all(each.startswith("a-") for each in ids)
    assert set(re.findall(r"#([a-z]-[0-9]+)", texts[0])) == set(ids)
    assert not re.search("#[0-9a-f]{6}", texts[0])
    parts = {(each.get("class"), each.get("data-series")) for each in root.iter() if each.get("data-series")}
    assert ("line of-replay on", "1") in parts and ("line of-baselines", "0") in parts
    assert not [each for each in root.iter() if each.tag.endswith(("image", "style", "metadata", "script"))]
