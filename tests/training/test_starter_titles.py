"""The names that openclipart's files and joined icon names give to drawings."""

import json
from pathlib import PurePath

import numpy as np

from retrieval.training.starter import image, pictures
from retrieval.training.starter.sources import Picture, icon_set, openclipart
from retrieval.training.starter.titles import keyword, retitle, spaced


def renamed(title, *files):
    return retitle([title] * len(files), paths=[PurePath(f"{f}.svg") for f in files])


def test_the_title_of_a_collection_gives_way_to_the_names_of_its_files():
    files = ("animals/seal", "food/beer_mug2", "tools/penKnife_01")
    assert renamed("Etiquette Icons", *files) == ["seal", "beer mug", "pen knife"]


def test_what_most_names_of_a_collection_share_is_left_out_unless_it_is_all_there_is():
    assert renamed("Map Symbols", "m/bwh_car_1m", "m/bwh_barn_1m", "m/bwh_1m") == [
        "car",
        "barn",
        "bwh",
    ]


def test_a_title_that_its_file_or_folder_names_stays_however_many_have_it():
    assert renamed("card", *(f"games/cards/simple_{n}" for n in "abc")) == ["card"] * 3
    assert renamed("stick man", *(f"people/stickmen/sm_{n}" for n in "abc")) == ["stick man"] * 3


def test_one_strange_title_is_meant_and_its_file_gives_a_keyword():
    assert renamed("Tempus Fugit", "horses/clock_horse") == ["Tempus Fugit"]
    assert keyword("Tempus Fugit", path=PurePath("horses/clock_horse.svg")) == "clock horse"
    assert keyword("A clock", path=PurePath("horses/clock_horse.svg")) == ""


def test_an_authors_template_goes_and_many_files_under_it_have_their_own_names():
    title = "Clipart by Nicu Buculei - book 01"
    assert renamed(title, "office/crayon", "office/mug", "office/book_02") == [
        "crayon",
        "mug",
        "book",
    ]
    assert renamed("Clipart by Jeff Smith - Spain", "flags/es") == ["Spain"]


def test_names_of_authors_behind_the_title_are_no_part_of_a_name():
    titles = ["Dog", "Cat", "House", *["Diner collection"] * 3]
    stems = ("dog_ann_lee", "cat_ann_lee", "house_ann_lee", "tea_ann_lee", "pie_ann_lee", "egg_lee")
    made = retitle(titles, paths=[PurePath(f"x/{s}_01.svg") for s in stems])
    assert made == ["Dog", "Cat", "House", "tea", "pie", "egg"]


def test_joined_words_are_parted_into_the_fewest_known_ones():
    known = {"bouquet", "flower", "flow", "ers", "hearts", "heart"}
    assert spaced("bouquetofflowers", known=known) == "bouquet of flowers"
    assert spaced("2hearts", known=known) == "2 hearts"
    assert spaced("xylograph", known=known) == "xylograph"
    assert spaced("red flower", known=known) == "red flower"


def test_an_icon_without_a_code_is_found_by_its_joined_name(tmp_path):
    body = {"body": '<path d="M0 0h9v9z"/>'}
    icons = {"beermug": body, "smallbeer": body, "1f37a": body}
    (tmp_path / "icons.json").write_text(json.dumps({"icons": icons}))
    (tmp_path / "chars.json").write_text(json.dumps({"1f37a": "1f37a"}))
    names = {"1f37a": ("beer mug", ("drink", "small"))}
    found = {p.key: (p.title, p.words) for p in icon_set(tmp_path, name="fx", names=names)}
    assert found["fx/beermug"] == found["fx/1f37a"] == ("beer mug", ("drink", "small"))
    assert found["fx/smallbeer"] == ("small beer", ())


def test_openclipart_can_be_read_with_the_titles_of_its_files(tmp_path):
    for name in ("seal", "goat", "lamb"):
        title = "<dc:title>Etiquette Icons</dc:title>"
        space = 'xmlns:dc="http://purl.org/dc/elements/1.1/"'
        (tmp_path / f"{name}.svg").write_text(f"<svg {space}>{title}</svg>")
    assert {p.title for p in openclipart(tmp_path)} == {"seal", "goat", "lamb"}
    assert {p.title for p in openclipart(tmp_path, repaired=False)} == {"Etiquette Icons"}


class OneWord:
    """A text table that knows every text."""

    def encode(self, texts):
        return np.ones((len(texts), 4), np.float32)


class AllThings:
    """Every title is a kind of thing."""

    def of(self, _title):
        return ["thing"]


def test_many_pictures_of_one_title_are_shown_as_often_as_twelve():
    titles = ["star"] * 120 + ["cat"] * 3
    drawn = pictures.Drawn(
        [Picture(f"noto/{n}", b"", title) for n, title in enumerate(titles)],
        features=np.zeros((123, 3), np.float32),
        colours=np.zeros((123, 12), np.float32),
        middle=np.zeros((123, 2), np.float32),
    )
    pairs = pictures.pairs_of(drawn, table=OneWord(), kinds=AllThings())
    assert isinstance(pairs, image.Pairs)
    np.testing.assert_allclose(pairs.chances[:120].sum() / pairs.chances[120:].sum(), 12 / 3)


def test_themes_of_icons_and_titles_without_a_noun_are_shown_less_often():
    keys = ("openclipart/animals/a.svg", "openclipart/computer/icons/b.svg", "noto/c")
    drawn = pictures.Drawn(
        [Picture(key, b"", f"title {key}") for key in keys],
        features=np.zeros((3, 3), np.float32),
        colours=np.zeros((3, 12), np.float32),
        middle=np.zeros((3, 2), np.float32),
    )
    things = pictures.pairs_of(drawn, table=OneWord(), kinds=AllThings()).chances
    np.testing.assert_allclose(things / things[2], [1.5, 0.45, 1.0])
    kinds = AllThings()
    kinds.of = lambda title: [] if "noto" in title else ["thing"]
    other = pictures.pairs_of(drawn, table=OneWord(), kinds=kinds).chances
    np.testing.assert_allclose(other / other[0], [1.0, 0.3, 0.5 / 1.5])
