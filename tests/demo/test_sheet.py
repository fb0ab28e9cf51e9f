"""The contact sheet: complete, self-contained, and safe to open whatever the files are called."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from retrieval.demo.run import load_demo
from retrieval.demo.sheet import EMBED_MAX_BYTES, SheetSearch, write_sheet
from retrieval.errors import StorageError
from retrieval.types import Hit

HOSTILE = (
    '" onerror=alert(1) a="\' onload=alert(2) <script>alert("x")</script> &amp; \x1b[31m\u202ename'
)


class Page(HTMLParser):
    """Collects every element with its attributes, and every piece of text."""

    VOID = ("meta", "img", "wbr", "link", "br")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.texts.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def _hit(path: Path | str, modality: str = "image", **more: object) -> Hit:
    return Hit(rank=1, id=1, path=str(path), modality=modality, score=0.25, **more)  # type: ignore[arg-type]


def _search(*hits: Hit, query: str = "q", **more: object) -> SheetSearch:
    fields = {"kind": "text", "query_modality": "text", "modality": None, **more}
    return SheetSearch(query=query, hits=hits, **fields)  # type: ignore[arg-type]


def _page(tmp_path: Path, *searches: SheetSearch, **more: str) -> tuple[str, Page]:
    text = write_sheet(tmp_path / "sheet.html", searches=searches, **more).read_text("utf-8")
    page = Page(text)
    assert page.open == [], "an element is not closed"
    return text, page


def test_a_small_picture_is_inside_the_page_byte_for_byte(tmp_path: Path) -> None:
    demo = load_demo()
    path = demo.path("images/cow.webp")
    _, page = _page(tmp_path, _search(_hit(path)))
    source = page.all("img")[0]["src"] or ""
    head, data = source.split(",")
    assert head == "data:image/webp;base64"
    assert base64.b64decode(data) == path.read_bytes()
    assert page.all("img")[0]["alt"] == "cow.webp"


def test_a_sound_gets_a_player_with_controls_that_does_not_start_by_itself(tmp_path: Path) -> None:
    demo = load_demo()
    path = demo.path("sounds/rooster.ogg")
    _, page = _page(tmp_path, _search(_hit(path, "audio")))
    player = page.all("audio")[0]
    assert "controls" in player
    assert "autoplay" not in player
    assert (player["src"] or "").startswith("data:audio/ogg;base64,")


def test_a_large_file_is_linked_instead(tmp_path: Path) -> None:
    large = tmp_path / "a b#c?%é.jpg"
    large.write_bytes(b"\xff" * (EMBED_MAX_BYTES + 1))
    text, page = _page(tmp_path, _search(_hit(large)))
    assert page.all("img")[0]["src"] == large.as_uri()
    assert len(text) < EMBED_MAX_BYTES


def test_a_file_that_is_gone_is_shown_by_its_name(tmp_path: Path) -> None:
    _, page = _page(tmp_path, _search(_hit(tmp_path / "gone.jpg")))
    assert page.all("img") == []
    assert "gone.jpg" in "".join(page.texts)


def test_a_format_that_browsers_do_not_show_is_named_not_embedded(tmp_path: Path) -> None:
    drawing = tmp_path / "evil.svg"
    drawing.write_text("<svg onload='alert(1)'/>")
    text, page = _page(tmp_path, _search(_hit(drawing)))
    assert page.all("img") == []
    assert "data:image/svg" not in text


def test_hostile_names_texts_queries_and_titles_are_only_text(tmp_path: Path) -> None:
    image = tmp_path / f"{HOSTILE.replace('/', '')}.webp"
    image.write_bytes(load_demo().path("images/cow.webp").read_bytes())
    searches = [
        _search(_hit(image), query=HOSTILE),
        _search(_hit(f"/nowhere/{HOSTILE}.txt", "text", text=HOSTILE * 3)),
        _search(_hit(image), query=str(image), kind="file", query_modality="image"),
    ]
    _, plain = _page(tmp_path, _search(_hit(tmp_path / "x.webp"), query="q"), title="t")
    _, page = _page(tmp_path, *searches, title=HOSTILE, summary=HOSTILE)
    assert page.all("script") == []
    assert {name for name, _ in page.elements} <= {n for n, _ in plain.elements} | {
        *("img", "blockquote", "div", "wbr", "svg", "g", "path")
    }
    handlers = {key for _, keys in page.elements for key in keys if key.startswith("on")}
    assert handlers == set()
    assert HOSTILE in "".join(page.texts)
    assert {keys["alt"] for keys in page.all("img")} == {image.name}
    assert [keys["title"] for keys in page.all("p") if "title" in keys] == [
        *(str(image), f"/nowhere/{HOSTILE}.txt", str(image))
    ]


def test_a_name_that_is_not_utf_8_does_not_stop_the_page(tmp_path: Path) -> None:
    _, page = _page(tmp_path, _search(_hit("/nowhere/caf\udce9.jpg")))
    assert "caf?.jpg" in "".join(page.texts)


def test_the_page_asks_for_nothing_from_elsewhere(tmp_path: Path) -> None:
    demo = load_demo()
    hits = [_hit(demo.path(item.name), item.modality) for item in demo.items]
    text, page = _page(tmp_path, _search(*hits))
    sources = [keys.get("src") or keys.get("href") or "" for _, keys in page.elements]
    assert {source.split(":")[0] for source in sources if source} == {"data"}
    assert page.all("link") == []
    style = text[text.index("<style>") : text.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    assert "prefers-color-scheme: dark" in style
    policy = page.all("meta")[1]
    assert policy["http-equiv"] == "Content-Security-Policy"
    assert "default-src 'none'" in (policy["content"] or "")
    assert len(page.all("img")) == sum(item.modality == "image" for item in demo.items)
    assert len(page.all("audio")) == sum(item.modality == "audio" for item in demo.items)


def test_hits_stand_in_order_with_name_and_score(tmp_path: Path) -> None:
    hits = [Hit(rank, rank, f"/m/n{rank}.xyz", "image", 1 / rank) for rank in (1, 2, 3)]
    text, _ = _page(tmp_path, _search(*hits))
    shown = re.findall(r"n\d<wbr>\.xyz</p><p class=\"score\">([\d.]+)", text)
    assert shown == ["1.000", "0.500", "0.333"]


def test_only_expected_hits_are_marked_also_through_copies(tmp_path: Path) -> None:
    hits = [_hit("/m/a.jpg"), _hit("/m/b.jpg"), _hit("/m/c.jpg", copies=("/m/d.jpg",))]
    expected = frozenset({"/m/a.jpg", "/m/d.jpg"})
    _, page = _page(tmp_path, _search(*hits, expected=expected, passed=True))
    assert [keys["class"] for keys in page.all("li")] == [
        "image expected",
        "image",
        "image expected",
    ]
    assert page.texts.count("✓") == 2


@pytest.mark.parametrize(
    ("passed", "words"), [(True, ["found"]), (False, ["not in the top three"]), (None, [])]
)
def test_the_verdict_is_shown_where_something_was_expected(
    tmp_path: Path, passed: bool | None, words: list[str]
) -> None:
    _, page = _page(tmp_path, _search(_hit("/m/a.jpg"), passed=passed))
    assert [t for t in page.texts if t in ("found", "not in the top three")] == words


def test_a_search_without_hits_says_so(tmp_path: Path) -> None:
    _, page = _page(tmp_path, _search())
    assert "Nothing found." in page.texts


def test_a_long_text_is_cut_between_words(tmp_path: Path) -> None:
    words = " ".join(f"word{i}" for i in range(100))
    text, _ = _page(tmp_path, _search(_hit("/m/a.txt", "text", text=words)))
    snippet = re.search(r"<blockquote>(.*?)</blockquote>", text)
    assert snippet is not None
    assert len(snippet.group(1)) <= 182
    assert words.startswith(snippet.group(1).removesuffix(" …") + " ")


def test_a_part_of_a_long_sound_shows_its_times(tmp_path: Path) -> None:
    first = _hit("/m/a.ogg", "audio", start_s=0.0, end_s=5.0)
    later = _hit("/m/a.ogg", "audio", start_s=35.0, end_s=45.0)
    _, page = _page(tmp_path, _search(first, later))
    assert [t for t in page.texts if " at " in t or t == "0.250"] == [
        "0.250",
        "0.250 at 35\N{EN DASH}45 s",
    ]


def test_a_page_that_cannot_be_written_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="name another file"):
        write_sheet(tmp_path / "no" / "sheet.html", searches=[])
    (tmp_path / "folder").mkdir()
    with pytest.raises(StorageError):
        write_sheet(tmp_path / "folder", searches=[])
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_writing_again_replaces_the_page(tmp_path: Path) -> None:
    write_sheet(tmp_path / "s.html", searches=[], title="one")
    path = write_sheet(tmp_path / "s.html", searches=[], title="two")
    assert "<title>two</title>" in path.read_text(encoding="utf-8")
    assert [p.name for p in tmp_path.iterdir()] == ["s.html"]
