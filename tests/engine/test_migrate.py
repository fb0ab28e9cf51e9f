"""Changing a store's model: the old one serves until the switch, and nothing is ever between."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from threading import Event

import numpy as np
import pytest
from cli import crossfind, environment
from colour_media import make_media

from index.segments import open_segment
from retrieval.config import Settings
from retrieval.encoders.fake import FakeEncoder
from retrieval.encoders.joined_file import JoinedFile, save_joined_file
from retrieval.encoders.model_file import HeadSpec, ModelFile, save_model_file
from retrieval.engine import Engine
from retrieval.errors import BadMediaError, ModelError, NotFoundError, StoppedError, UsageError

Answers = list[list[tuple[int, int, str, float]]]
COLOURS = ("red", "green", "blue", "white", "yellow", "violet")
MODALITIES = ("image", "audio", "text")


def make_model(path: Path, *, seed: int = 0, modalities: tuple[str, ...] = MODALITIES) -> str:
    """Write a model that sees the fake one's colours from elsewhere, and some of them badly."""
    rng = np.random.default_rng(seed)
    weight = np.linalg.qr(rng.standard_normal((64, 64)))[0][:48] @ np.diag(rng.uniform(0.2, 2, 64))
    tensors, heads = {}, {}
    for modality in modalities:
        heads[modality] = HeadSpec("linear", dim_in=64, dim_out=48)
        tensors[f"{modality}.last.weight"] = weight.astype(np.float32)
        tensors[f"{modality}.last.bias"] = np.zeros(48, np.float32)
    base = FakeEncoder().spaces[0].fingerprint
    save_model_file(path, model=ModelFile("fake", base, heads, tensors))  # type: ignore[arg-type]
    return str(path)


def make_joined(path: Path) -> str:
    """Write a joined model of the fake one twice: two Spaces, sounds in both."""
    print_ = FakeEncoder().spaces[0].fingerprint
    rng = np.random.default_rng(5)
    bridge = (np.eye(64) + 0.05 * rng.standard_normal((64, 64))).astype(np.float32)
    tensors = {"weight": bridge, "bias": np.zeros(64, np.float32),
               "shift": np.zeros(64, np.float32)}  # fmt: skip
    save_joined_file(path, joined=JoinedFile("fake", print_, "fake", print_, 0, tensors))
    return f"joined:{path}"


def answers(engine: Engine) -> Answers:
    found = [engine.search(text, k=20) for text in COLOURS]
    found += [engine.search(item, k=20) for item in range(1, 8)]
    return [[(h.rank, h.id, h.path, round(h.score, 4)) for h in hits] for hits in found]


def built(store: Path, media: Path, model: str, settings: Settings) -> Answers:
    with Engine.open(store, create=True, model=model, settings=settings) as engine:
        engine.add(media)
        return answers(engine)


@pytest.fixture
def model(tmp_path: Path) -> str:
    return make_model(tmp_path / "new.model")


def test_a_migrated_store_answers_as_one_built_with_the_new_model(
    tmp_path: Path, world: Path, settings: Settings, engine: Engine, model: str
) -> None:
    engine.add(world)
    before = answers(engine)
    expected = built(tmp_path / "fresh", world, model, settings)
    assert before != expected
    report = engine.migrate(model)
    assert report is not None
    assert (report.before, report.after, report.n_lost) == ("fake", model, 0)
    assert report.n_encoded == report.n_parts == 9
    assert answers(engine) == expected, "the open engine goes on with the new model"
    assert engine.verify().findings == ()
    assert [s.model for s in engine.status().spaces] == [model]
    report = engine.migrate(None)
    assert report is not None
    assert report.n_encoded == 0, "going back encoded what was kept"
    assert answers(engine) == before
    assert engine.verify().findings == ()


@pytest.mark.parametrize("there_and_back", [False, True])
def test_a_store_may_have_several_spaces(
    tmp_path: Path, world: Path, settings: Settings, engine: Engine, there_and_back: bool
) -> None:
    joined = make_joined(tmp_path / "twin.joined")
    expected = built(tmp_path / "fresh", world, joined, settings)
    engine.add(world)
    before = answers(engine)
    engine.migrate(joined)
    assert len(engine.status().spaces) == 2
    assert answers(engine) == expected
    engine.build()
    assert engine.verify().findings == ()
    if there_and_back:
        engine.migrate(None)
        assert answers(engine) == before


def test_another_process_with_the_store_open_goes_on_with_the_new_model(
    tmp_path: Path, world: Path, settings: Settings, engine: Engine, model: str
) -> None:
    engine.add(world)
    with Engine.open(engine.store.root, settings=settings) as server:
        before = answers(server)
        assert before == answers(engine)
        engine.migrate(model)
        assert answers(server) == answers(engine) != before


def test_the_old_model_serves_while_the_new_one_is_encoded(
    world: Path, settings: Settings, engine: Engine, model: str
) -> None:
    engine.add(world)
    before = answers(engine)
    seen: list[bool] = []
    with Engine.open(engine.store.root, settings=settings) as server:
        engine.migrate(model, on_parts=lambda *_: seen.append(answers(server) == before))
    assert seen
    assert all(seen)


def stopped(engine: Engine, model: str) -> None:
    """Begin a migration and stop it after its first look at the clock."""
    stop = Event()
    stop.set()
    with pytest.raises(StoppedError, match="the old model serves"):
        engine.migrate(model, stop=stop)


def test_a_stopped_migration_keeps_what_it_has_and_goes_on(
    tmp_path: Path, world: Path, settings: Settings, engine: Engine, model: str
) -> None:
    engine.add(world)
    before = answers(engine)
    stopped(engine, model)
    assert answers(engine) == before
    assert engine.verify().findings == ()
    with pytest.raises(UsageError) as caught:
        engine.migrate(make_model(tmp_path / "third.model", seed=9))
    assert caught.value.code == "migration_pending"
    report = engine.migrate(model)
    assert report is not None
    assert 0 < report.n_encoded < report.n_parts
    assert answers(engine) == built(tmp_path / "fresh", world, model, settings)


def test_a_begun_migration_can_be_given_up(world: Path, engine: Engine, model: str) -> None:
    engine.add(world)
    before = answers(engine)
    stopped(engine, model)
    assert engine.migrate(None) is None
    assert answers(engine) == before
    with pytest.raises(NotFoundError) as caught:
        engine.migrate(None)
    assert caught.value.code == "nothing_to_roll_back"


def test_what_changed_between_two_runs_and_after_the_switch_is_right(
    tmp_path: Path, world: Path, settings: Settings, engine: Engine, model: str
) -> None:
    engine.add(world)
    stopped(engine, model)
    (world / "day.txt").write_text("a violet night")
    (world / "red.png").unlink()
    (world / "more.txt").write_text("yellow")
    engine.add(world, prune=True)
    engine.build(force=True)
    engine.migrate(model)
    assert engine.verify().findings == ()
    found = {h.path for h in engine.search("violet", k=50)}
    assert found == {h.path for h in _fresh(tmp_path / "fresh", world, model, settings)}
    # After the switch things come and go in the new Space alone; going back makes up for it.
    (world / "late.txt").write_text("white snow")
    (world / "blue.png").unlink()
    engine.add(world, prune=True)
    report = engine.migrate(None)
    assert report is not None
    assert report.n_encoded == 1
    assert engine.verify().findings == ()
    with Engine.open(tmp_path / "again", create=True, model="fake", settings=settings) as fresh:
        fresh.add(world)
        for text in COLOURS:
            expected = {(h.path, round(h.score, 4)) for h in fresh.search(text, k=50)}
            assert {(h.path, round(h.score, 4)) for h in engine.search(text, k=50)} == expected


def _fresh(store: Path, world: Path, model: str, settings: Settings) -> list:  # type: ignore[type-arg]
    with Engine.open(store, create=True, model=model, settings=settings) as engine:
        engine.add(world)
        return engine.search("violet", k=50)


def test_the_same_model_or_another_one_beside_it_is_refused_by_name(
    world: Path, engine: Engine, settings: Settings, model: str
) -> None:
    engine.add(world)
    with pytest.raises(ModelError) as caught:
        engine.migrate("fake")
    assert caught.value.code == "same_model"
    with pytest.raises(ModelError, match=f"fake, not {model}") as caught:
        Engine.open(engine.store.root, model=model, settings=settings)
    assert (caught.value.code, caught.value.exit_code) == ("space_mismatch", 7)
    assert "index migrate --to" in str(caught.value)


def test_a_model_that_knows_no_sounds_is_refused_or_loses_them_openly(
    tmp_path: Path, world: Path, engine: Engine
) -> None:
    engine.add(world)
    deaf = make_model(tmp_path / "deaf.model", modalities=("image", "text"))
    with pytest.raises(ModelError, match="2 of audio") as caught:
        engine.migrate(deaf)
    assert caught.value.code == "modality_not_served"
    assert engine.search("red")[0].modality
    report = engine.migrate(deaf, partial=True)
    assert report is not None
    assert report.n_lost == 2
    assert not [h for h in engine.search("red", k=50) if h.modality == "audio"]
    assert engine.verify().findings == ()


@pytest.mark.parametrize("fault", ["gone", "changed"])
def test_files_that_cannot_be_encoded_again_stop_the_switch_unless_told(
    world: Path, engine: Engine, model: str, fault: str
) -> None:
    engine.add(world)
    before = answers(engine)
    if fault == "gone":
        (world / "red.png").unlink()
    else:
        shutil.copy(world / "blue.png", world / "red.png")
    with pytest.raises(BadMediaError, match=r"red\.png") as caught:
        engine.migrate(model)
    assert caught.value.code == "migration_incomplete"
    assert answers(engine) == before
    report = engine.migrate(model, partial=True)
    assert report is not None
    assert (report.n_lost, len(report.failures)) == (1, 1)
    assert "red.png" not in {Path(h.path).name for h in engine.search("red", k=50)}
    engine.add(world, prune=True)
    assert engine.verify().findings == ()


def test_the_vectors_of_the_model_before_can_be_dropped(
    world: Path, engine: Engine, model: str
) -> None:
    engine.add(world)
    engine.migrate(model)
    n_files = len(list(engine.store.segments.iterdir()))
    expected = answers(engine)
    assert engine.drop_old_model() >= 1
    assert len(list(engine.store.segments.iterdir())) < n_files
    assert answers(engine) == expected
    with pytest.raises(NotFoundError):
        engine.migrate(None)


def test_the_command_migrates_and_goes_back(tmp_path: Path, world: Path, model: str) -> None:
    assert crossfind("index", "build", world, "--model", "fake", cwd=tmp_path).code == 0
    done = crossfind("index", "migrate", "--to", model, cwd=tmp_path)
    assert done.code == 0, done.err
    assert "--rollback" in done.err
    assert crossfind("search", "red", cwd=tmp_path).code == 0
    assert crossfind("index", "add", world, cwd=tmp_path).code == 0
    assert crossfind("index", "migrate", "--rollback", cwd=tmp_path).code == 0
    assert crossfind("index", "migrate", "--drop-old", cwd=tmp_path).code == 0
    done = crossfind("index", "migrate", cwd=tmp_path)
    assert done.code == 2
    assert "--to MODEL" in done.err


def start_migration(folder: Path, model: str, **extra: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", "from retrieval.cli import main; main()"]
    return subprocess.Popen(
        [*command, "index", "migrate", "--to", model, "--workers", "1"],
        cwd=folder,
        env=environment(CROSSFIND_COMMIT_S="0", **extra),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


@pytest.mark.slow
def test_a_migration_killed_at_random_is_old_or_new_and_finishes_when_run_again(
    tmp_path: Path,
) -> None:
    media = make_media(tmp_path / "media", n_files=300)
    model = make_model(tmp_path / "new.model")
    (tmp_path / "base").mkdir()
    assert crossfind("index", "build", media, "--model", "fake", cwd=tmp_path / "base").code == 0
    with Engine.open(tmp_path / "base") as engine:
        old = answers(engine)
    shutil.copytree(tmp_path / "base", tmp_path / "whole")
    started_s = time.monotonic()
    assert start_migration(tmp_path / "whole", model).wait(120) == 0
    whole_s = time.monotonic() - started_s
    with Engine.open(tmp_path / "whole") as engine:
        new = answers(engine)
    assert old != new
    rng = random.Random(4)
    n_old = n_resumed = 0
    for round_ in range(10):
        folder = tmp_path / f"killed{round_}"
        shutil.copytree(tmp_path / "base", folder)
        run = start_migration(folder, model)
        time.sleep(rng.uniform(0.2, 1.0) * whole_s)
        os.killpg(run.pid, signal.SIGKILL)
        run.communicate()
        with Engine.open(folder) as engine:
            found = answers(engine)
        assert found in (old, new), f"round {round_} is between"
        if found == old:
            n_old += 1
            n_resumed += bool(_n_pending(folder))
            again = start_migration(folder, model)
            _, err = again.communicate(timeout=120)
            assert again.returncode == 0, err
        with Engine.open(folder) as engine:
            assert answers(engine) == new, f"round {round_}"
        assert crossfind("index", "verify", cwd=folder).code == 0
    assert n_old >= 3, "the kills came too late"
    assert n_resumed >= 2, "the kills missed the interesting moments"


@pytest.mark.slow
@pytest.mark.parametrize("point", ["migrate.commit", "migrate.commit:3", "migrate.switch"])
def test_a_migration_killed_at_a_step_is_finished_by_the_next(
    tmp_path: Path, world: Path, model: str, point: str
) -> None:
    assert crossfind("index", "build", world, "--model", "fake", cwd=tmp_path).code == 0
    with Engine.open(tmp_path) as engine:
        old = answers(engine)
    run = start_migration(tmp_path, model, CROSSFIND_FAILPOINT=point)
    run.communicate(timeout=60)
    assert run.returncode == -signal.SIGKILL
    with Engine.open(tmp_path) as engine:
        assert answers(engine) == old
    run = start_migration(tmp_path, model)
    _, err = run.communicate(timeout=60)
    assert run.returncode == 0, err
    with Engine.open(tmp_path) as engine:
        assert answers(engine) != old
        assert engine.verify().findings == ()


def _n_pending(folder: Path) -> int:
    with Engine.open(folder) as engine, engine._catalog.reading() as reader:
        return len(reader.segments(state="pending"))


def test_every_vector_leads_to_its_model_licence_and_fingerprint(
    tmp_path: Path, world: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row's own file says the fingerprint, and the catalog whose it is."""
    kept = FakeEncoder().spaces[0]
    licensed = replace(kept, licence="cc-by-4.0")
    monkeypatch.setattr(engine.encoder, "spaces", (licensed,))
    engine.add(world)
    model = make_model(tmp_path / "new.model")
    engine.migrate(model)
    rows: dict[tuple[str, str, str], set[int]] = {}
    with engine._catalog.reading() as reader:
        for state in ("active", "kept"):
            spaces = {space.id: space for space in reader.spaces(state=state)}
            for entry in reader.segments(state=state):
                space = spaces[entry.space_id]
                segment = open_segment(engine.store.segments / entry.info.name)
                assert segment.fingerprint == space.fingerprint
                owner = (space.model, space.licence, space.fingerprint)
                rows.setdefault(owner, set()).update(segment.ids.tolist())
    assert ("fake", "cc-by-4.0", kept.fingerprint) in rows
    assert sorted(owner[0] for owner in rows) == sorted(["fake", model])
    assert {len(ids) for ids in rows.values()} == {9}
    shown = {(s.model, s.licence, s.fingerprint) for s in engine.status().spaces}
    assert shown == {owner for owner in rows if owner[0] == model}
    engine.close()
    told = crossfind("index", "status", "--json", "--store", tmp_path / "store", cwd=tmp_path)
    assert [s["fingerprint"] for s in json.loads(told.out)["spaces"]] == [s[2] for s in shown]
