"""Adding files: what is encoded, what is skipped, what keeps its id."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
from PIL import Image

from retrieval.add_batch import Collector, Committed
from retrieval.catalog import turns
from retrieval.catalog.read import Reader
from retrieval.encoders.fake import FakeEncoder
from retrieval.engine import Engine
from retrieval.errors import LockedError, UsageError
from retrieval.remove import remove
from retrieval.types import Payload


def ids_by_name(engine: Engine) -> dict[str, int]:
    return {Path(hit.path).name: hit.id for hit in engine.search("red", k=100)}


def test_add_counts_items_files_and_parts(engine: Engine, world: Path) -> None:
    report = engine.add(world)
    status = engine.status()
    assert report.n_added == 9
    assert report.n_loaded == 8
    assert status.n_items == {"image": 4, "audio": 2, "text": 3, "video": 0}
    assert (status.n_files, status.n_parts, status.n_bad) == (8, 9, 0)


def test_unchanged_files_are_not_loaded_again(engine: Engine, world: Path) -> None:
    engine.add(world)
    generation = engine.status().generation
    report = engine.add(world)
    assert (report.n_loaded, report.n_unchanged, report.n_added) == (0, 8, 0)
    assert engine.status().generation == generation


def test_a_changed_file_keeps_its_item_and_gets_new_vectors(engine: Engine, world: Path) -> None:
    engine.add(world)
    before = ids_by_name(engine)
    Image.new("RGB", (40, 30), (255, 0, 0)).save(world / "blue.png")
    os.utime(world / "blue.png", ns=(1, 1))
    # The bytes equal red.png's now: same content, so the two paths become one item.
    report = engine.add(world)
    assert report.n_copies == 1
    assert report.n_removed == 1
    Image.new("RGB", (40, 30), (255, 0, 10)).save(world / "green.png")
    os.utime(world / "green.png", ns=(2, 2))
    report = engine.add(world)
    after = ids_by_name(engine)
    assert report.n_changed == 1
    assert after["green.png"] == before["green.png"]
    assert engine.search("red", k=2, modality="image")[1].id == before["green.png"]


def test_a_renamed_file_is_recognised_without_loading(engine: Engine, world: Path) -> None:
    engine.add(world)
    before = ids_by_name(engine)
    (world / "blue.png").rename(world / "azure.png")
    report = engine.add(world)
    assert (report.n_loaded, report.n_copies) == (0, 1)
    after = ids_by_name(engine)
    assert after["azure.png"] == before["blue.png"]
    assert "blue.png" not in after


def test_copies_are_one_item_with_two_paths(engine: Engine, world: Path) -> None:
    shutil.copy(world / "red.png", world / "rouge.png")
    os.link(world / "red.png", world / "rot.png")
    engine.add(world)
    top = engine.search("red", k=1, modality="image")[0]
    assert sorted(Path(p).name for p in (top.path, *top.copies)) == [
        "red.png",
        "rot.png",
        "rouge.png",
    ]
    (world / "red.png").unlink()
    engine.add(world, prune=True)
    top = engine.search("red", k=1, modality="image")[0]
    assert sorted(Path(p).name for p in (top.path, *top.copies)) == ["rot.png", "rouge.png"]


def test_vanished_files_stay_until_pruned(engine: Engine, world: Path) -> None:
    engine.add(world)
    (world / "red.png").unlink()
    assert engine.add(world).n_removed == 0
    assert "red.png" in ids_by_name(engine)
    assert engine.add(world, prune=True).n_removed == 1
    assert "red.png" not in ids_by_name(engine)


def test_pruning_one_folder_leaves_its_neighbours(engine: Engine, tmp_path: Path) -> None:
    for name in ("a", "ab"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (9, 9), (200, 0, len(name))).save(tmp_path / name / "x.png")
    engine.add(tmp_path / "a", tmp_path / "ab")
    shutil.rmtree(tmp_path / "a")
    shutil.rmtree(tmp_path / "ab")
    (tmp_path / "a").mkdir()
    assert engine.add(tmp_path / "a", prune=True).n_removed == 1
    assert len(engine.search("red", k=10)) == 1


def test_a_row_added_to_a_table_keeps_the_other_rows_items(engine: Engine, world: Path) -> None:
    engine.add(world)
    before = {h.path: h.id for h in engine.search("sea", k=50, modality="text")}
    (world / "rows.csv").write_text("text\nblue sea\ngreen grass\nwhite snow\n")
    engine.add(world)
    after = {h.path: h.id for h in engine.search("sea", k=50, modality="text")}
    assert len(after) == len(before) + 1
    assert all(after[path] == id_ for path, id_ in before.items())


def test_a_caption_belongs_to_its_file_and_can_come_and_go(engine: Engine, world: Path) -> None:
    engine.add(world)
    (world / "blue.txt").write_text("zanzibar")
    engine.add(world)
    top = engine.search("zanzibar", k=1)[0]
    assert Path(top.path).name == "blue.png"
    assert top.text == "zanzibar"
    assert top.score > 0.99
    assert engine.item(world / "blue.png").caption == "zanzibar"  # type: ignore[union-attr]
    (world / "blue.txt").unlink()
    engine.add(world)
    assert engine.item(world / "blue.png").caption is None  # type: ignore[union-attr]
    assert engine.search("zanzibar", k=1)[0].score < 0.9


def test_a_bad_file_is_named_and_tried_again_only_when_it_changes(
    engine: Engine, world: Path
) -> None:
    (world / "broken.jpg").write_bytes(b"no picture")
    report = engine.add(world)
    assert (report.n_bad, report.n_added) == (1, 9)
    assert [(Path(f.path).name, f.code) for f in engine.failures()] == [
        ("broken.jpg", "not_an_image")
    ]
    report = engine.add(world)
    assert (report.n_bad, report.n_loaded) == (1, 0)
    (world / "broken.jpg").write_bytes(b"still no picture")
    engine.add(world)
    with engine._catalog.reading() as reader:
        assert (
            reader.known_files([str(world / "broken.jpg")])[str(world / "broken.jpg")].attempts == 2
        )
    Image.new("RGB", (5, 5), (0, 0, 255)).save(world / "broken.jpg")
    report = engine.add(world)
    assert (report.n_bad, report.n_added) == (0, 1)
    assert engine.failures() == []


def test_a_good_file_that_breaks_is_no_longer_found(engine: Engine, world: Path) -> None:
    engine.add(world)
    (world / "red.png").write_bytes(b"gone bad")
    report = engine.add(world)
    assert (report.n_bad, report.n_removed) == (1, 1)
    assert "red.png" not in ids_by_name(engine)


def test_names_of_any_bytes_are_indexed_and_found(engine: Engine, tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path / "odd")
    os.mkdir(folder)
    name = b"caf\xe9 \xff\n\x1b[31m.png"
    with open(os.path.join(folder, name), "wb") as file:
        Image.new("RGB", (8, 8), (255, 0, 0)).save(file, "png")
    engine.add(os.fsdecode(folder))
    assert os.fsencode(Path(engine.search("red", k=1)[0].path).name) == name


def test_the_store_itself_is_never_indexed(tmp_path: Path, world: Path, settings) -> None:  # type: ignore[no-untyped-def]
    inside = world / "my-store"
    with Engine.open(inside, create=True, model="fake", settings=settings) as engine:
        engine.add(world)
        (inside / "derived" / "thumb.png").write_bytes((world / "red.png").read_bytes())
        assert engine.add(world).n_loaded == 0


def test_a_missing_path_is_refused_by_name(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere") as caught:
        engine.add(tmp_path / "nowhere")
    assert caught.value.code == "path_missing"


def test_a_second_writer_is_refused(
    engine: Engine, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "WAIT_S", 0.2)  # where writers wait
    with engine.turn(), pytest.raises(LockedError, match=f"written by pid {os.getpid()} on host"):
        engine.add(world)


def test_a_file_that_vanishes_while_it_is_compared_costs_only_itself(
    engine: Engine, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import retrieval.add_plan

    engine.add(world)
    shutil.copy(world / "red.png", world / "again.png")
    Image.new("RGB", (8, 8), (9, 9, 9)).save(world / "new.png")
    real = retrieval.add_plan.hash_file

    def vanish(path: Path) -> str:
        path.unlink()
        return real(path)

    monkeypatch.setattr(retrieval.add_plan, "hash_file", vanish)
    report = engine.add(world)
    assert (report.n_added, report.n_bad) == (1, 1)
    assert [f.code for f in engine.failures()] == ["vanished"]


def test_a_file_moved_while_another_takes_its_name_is_still_found(
    engine: Engine, world: Path
) -> None:
    engine.add(world)
    before = ids_by_name(engine)
    (world / "red.png").rename(world / "zinnober.png")
    Image.new("RGB", (40, 30), (250, 0, 5)).save(world / "red.png")
    engine.add(world)
    after = ids_by_name(engine)
    assert set(after) == {*before, "zinnober.png"}
    assert after["zinnober.png"] == before["red.png"]  # it is the same item under another name
    assert after["red.png"] not in before.values()
    assert engine.verify().findings == ()


def test_a_copy_whose_item_goes_before_the_commit_is_loaded(
    engine: Engine, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.add(world)
    shutil.copy(world / "red.png", world / "rouge.png")
    commit, removed = Collector.commit, []

    def remove_first(collector: Collector) -> Committed:
        if not removed:
            removed.append(remove([world / "red.png"], catalog=collector._catalog))
        return commit(collector)

    monkeypatch.setattr(Collector, "commit", remove_first)
    report = engine.add(world / "rouge.png")
    assert removed == [1]
    assert (report.n_added, report.n_copies, report.n_loaded) == (1, 0, 1)
    assert "rouge.png" in ids_by_name(engine)
    assert "red.png" not in ids_by_name(engine)


def test_the_catalog_is_asked_for_the_contents_of_a_batch_at_once(
    engine: Engine, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for shade in range(70):  # more than the model's batch of 64 pictures
        Image.new("RGB", (40, 30), (shade, 0, 9)).save(world / f"shade{shade}.png")
    ask, asked = Reader.items_by_hashes, []

    def count(reader: Reader, hashes: Iterable[str]) -> object:
        asked.append(len(list(hashes)))
        return ask(reader, hashes)

    monkeypatch.setattr(Reader, "items_by_hashes", count)
    assert engine.add(world).n_added == 79
    assert len(asked) == 4  # a full batch, the rest, and twice within the transaction
    assert asked[0] + asked[1] == 78  # files; a table of two rows is one


def test_a_known_content_is_not_encoded_again_among_new_ones(
    engine: Engine, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (world / "blue.txt").write_text("the sea")
    engine.add(world)
    os.utime(world / "blue.png", ns=(5, 5))  # has a caption: it is loaded to see
    shutil.copy(world / "red.png", world / "rouge.png")
    (world / "rouge.txt").write_text("le rouge")  # the content has another caption now
    Image.new("RGB", (40, 30), (9, 9, 9)).save(world / "new.png")
    encode, encoded = FakeEncoder.encode, list[object]()

    def note(encoder: FakeEncoder, inputs: Sequence[Payload], **more: object) -> object:
        encoded.extend([more["modality"]] * len(inputs))
        return encode(encoder, inputs, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(FakeEncoder, "encode", note)
    report = engine.add(world)
    assert (report.n_loaded, report.n_added, report.n_copies, report.n_changed) == (3, 1, 1, 1)
    assert sorted(encoded) == ["image", "image", "text"]
    assert engine.verify().findings == ()
