"""The starter's whole recipe on a made-up world: a few words, a few drawings, a tiny trunk."""

import json
import shutil
from dataclasses import replace
from hashlib import blake2b, sha256

import numpy as np
import pytest
from training_worlds import write_lite2

from retrieval.encoders.starter_files import open_weights
from retrieval.encoders.starter_image import ImageTower
from retrieval.encoders.starter_text import TextTower
from retrieval.errors import UsageError
from retrieval.training.starter import render, text
from retrieval.training.starter.corpus import Sizes
from retrieval.training.starter.image import HeadPlan
from retrieval.training.starter.installed import read_sources
from retrieval.training.starter.run import Plan, run
from retrieval.training.starter.tail import TailPlan

pytestmark = pytest.mark.skipif(shutil.which("rsvg-convert") is None, reason="no rsvg-convert")

COLOURS = {"red": "#d22", "green": "#2a2", "blue": "#22d", "yellow": "#dd2"}
THINGS = ("square", "disc", "bar", "ring")
_MORE = "shape entity a the of and thing run big dog"
WORDS = (*COLOURS, *THINGS, *_MORE.split())


class FakeTeacher:
    """A text is the sum of a random vector per word."""

    def __init__(self, folder):
        assert (folder / "tokenizer.json").is_file()

    def encode(self, texts):
        rows = np.stack([sum(map(self._word, t.lower().split() or [""])) for t in texts])
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    def _word(self, word):
        seed = int.from_bytes(blake2b(word.strip(".,s").encode(), digest_size=4).digest(), "little")
        return np.random.default_rng(seed).normal(size=384)


def drawing(thing, colour):
    shapes = {
        "square": '<rect x="20" y="20" width="60" height="60" fill="{}"/>',
        "disc": '<circle cx="50" cy="50" r="32" fill="{}"/>',
        "bar": '<rect x="5" y="42" width="90" height="16" fill="{}"/>',
        "ring": '<circle cx="50" cy="50" r="28" fill="none" stroke-width="10" stroke="{}"/>',
    }
    body = shapes[thing].format(COLOURS[colour])
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" width="100" height="100" '
        f'xmlns:dc="http://purl.org/dc/elements/1.1/"><title/><dc:title>{thing}</dc:title>'
        f"{body}</svg>"
    )


def write_wordnet(folder):
    folder.mkdir()
    lines = ["  1 a licence line"]
    nouns = ["entity", "shape", *THINGS]
    for number, noun in enumerate(nouns):
        above = "000 " if number == 0 else f"001 @ {10 * (number > 1):08d} n 0000 "
        lines.append(f'{10 * number:08d} 06 n 01 {noun} 0 {above}| a {noun}; "the {noun} is big"')
    (folder / "data.noun").write_text("\n".join(lines) + "\n")
    for kind, word in (("verb", "run"), ("adj", "big")):
        (folder / f"data.{kind}").write_text("")
        (folder / f"index.{kind}").write_text(f"{word} {kind[0]} 1 0 1 1 00000001\n")


def write_cldr(folder):
    (folder / "annotations").mkdir(parents=True)
    other = {"en": dict(zip(THINGS, THINGS, strict=True)), "es": {"square": "cuadrado"}}
    for language, names in other.items():
        rows = [
            f'<annotation cp="{chr(0x2460 + n)}"{kind}>{names[t]}</annotation>'
            for n, t in enumerate(THINGS)
            if t in names
            for kind in (' type="tts"', "")
        ]
        xml = f"<ldml><annotations>{''.join(rows)}</annotations></ldml>"
        (folder / "annotations" / f"{language}.xml").write_text(xml)


def write_trunk(path):
    """Mean colours of an 8 x 8 grid, repeated to 1280 numbers, as an ONNX network."""
    import torch

    class Grid(torch.nn.Module):
        def forward(self, image):
            x = image.permute(0, 3, 1, 2).float() / 255
            pooled = torch.nn.functional.avg_pool2d(x, 30).flatten(1)
            return torch.cat([pooled] * 7, dim=1)[:, :1280], x.amax((2, 3))

    torch.onnx.export(
        Grid(), (torch.zeros(2, 240, 240, 3, dtype=torch.uint8),), str(path),
        input_names=["image"], output_names=["feature", "middle"], opset_version=17,
        dynamic_axes={"image": {0: "n"}, "feature": {0: "n"}, "middle": {0: "n"}}, dynamo=False,
    )  # fmt: skip


def write_world(root):
    """Write every source, and return the path of the sources file."""
    from safetensors.numpy import save_file

    vocab = ["[PAD]", "[UNK]", *WORDS, "##s", "##es", "q", "u", "##a"]
    model = {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##"}
    model |= {"max_input_chars_per_word": 100, "vocab": {w: n for n, w in enumerate(vocab)}}
    steps = {"clean_text": True, "handle_chinese_chars": True, "strip_accents": None}
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [],
        "normalizer": {"type": "BertNormalizer", "lowercase": True, **steps},
        "pre_tokenizer": {"type": "BertPreTokenizer"}, "post_processor": None, "decoder": None,
        "model": model,
    }  # fmt: skip
    (root / "minilm").mkdir()
    (root / "minilm" / "tokenizer.json").write_text(json.dumps(tokenizer))
    write_wordnet(root / "wordnet")
    write_cldr(root / "cldr")
    for colour in COLOURS:
        for thing in THINGS:
            for copy in range(4):
                path = root / "clipart" / colour / f"{thing}_{copy}.svg"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(drawing(thing, colour))
    (root / "classes").mkdir()
    synsets = [f"n{10 * (2 + n):08d}" for n in range(len(THINGS))]
    (root / "classes" / "imagenet_synsets.txt").write_text("\n".join(synsets))
    lemmas = "\n".join(f"{s}\t{t}" for s, t in zip(synsets, THINGS, strict=True))
    (root / "classes" / "imagenet_synset_to_lemma.txt").write_text(lemmas)
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(len(THINGS), 1280)).astype(np.float32)
    save_file(
        {"_fc.weight": weight, "_fc.bias": np.zeros(len(THINGS), np.float32)},
        root / "lite2.safetensors",
    )
    told = (
        'classes = "classes"\ntrunk = "lite2.safetensors"\n'
        '[text]\nminilm = "minilm"\nwordnet = "wordnet"\ncldr = "cldr"\n'
        '[pictures]\nopenclipart = "clipart"\ncldr = "cldr"\nwordnet = "wordnet"\n'
        "[pictures.icon_sets]\n[pictures.rendered]\n"
    )
    (root / "sources.toml").write_text(told)
    return root / "sources.toml"


PLAN = Plan(
    sizes=Sizes(lemmas=6, glosses=6, spoken=6, captions=400),
    n_text_epochs=60,
    n_words=0,
    heads=(HeadPlan(80, 16, 3e-3, 32, 0.0, n_prototypes=4),) * 2,
    tail=None,
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Run the recipe once, with the sounds left out; give the world and the figures."""
    from safetensors.numpy import save_file

    root = tmp_path_factory.mktemp("recipe")
    sources = read_sources(write_world(root))
    work, out = root / "work", root / "out"
    work.mkdir()
    out.mkdir()
    write_trunk(work / "image.onnx")
    for name in ("audio.onnx", "events.onnx"):
        (out / name).write_bytes(b"kept")
    save_file({"mean": np.zeros(2, np.float32)}, out / "audio.safetensors")
    (out / "starter.json").write_text(json.dumps({"audio": {"share": 0.5}}))
    patch = pytest.MonkeyPatch()
    patch.setattr(text, "Teacher", FakeTeacher)
    told = []
    figures = run(sources, work=work, out=out, plan=PLAN, tell=told.append)
    yield root, figures, told
    patch.undo()


def test_the_recipe_makes_weights_that_find_the_drawing_a_word_names(made):
    root, _, _ = made
    files = open_weights(root / "out")
    texts, tower = TextTower(files), ImageTower(files, threads=1)
    seen = np.load(next((root / "work").glob("pictures-openclipart-*.npz")))
    parts = [seen[part].astype(np.float32) for part in ("features", "colours", "middle")]
    features = np.concatenate(parts, axis=1)
    vectors = tower.project(features)
    words = texts.encode([f"a {thing}" for thing in THINGS])
    words /= np.linalg.norm(words, axis=1, keepdims=True)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    right = [key.rsplit("/", 1)[1].split("_")[0] for key in seen["keys"].tolist()]
    chosen = [THINGS[i] for i in (vectors @ words.T).argmax(axis=1)]
    assert np.mean([a == b for a, b in zip(right, chosen, strict=True)]) > 0.9


def test_the_recipe_tells_its_figures_and_keeps_the_audio_files(made):
    root, figures, told = made
    assert figures["text_cosine"] > 0.85
    assert figures["n_pictures"] + len(held_back(root)) == 64
    assert [line.split(":")[0] for line in told] == list(figures["seconds"])
    manifest = json.loads((root / "out" / "starter.json").read_text())
    assert manifest["audio"] == {"share": 0.5}
    assert manifest["files"]["audio.onnx"]["size_bytes"] == 4


def held_back(root):
    from hashlib import md5

    return [
        p for p in (root / "clipart").rglob("*.svg") if md5(p.name.encode()).hexdigest()[0] in "012"
    ]


def test_the_table_puts_a_spanish_word_where_its_meaning_is(made):
    root, _, _ = made
    texts = TextTower(open_weights(root / "out"))
    a, b, c = texts.encode(["cuadrado", "square", "ring"])
    assert a @ b / np.linalg.norm(a) / np.linalg.norm(b) > 0.9
    assert abs(a @ c / np.linalg.norm(a) / np.linalg.norm(c)) < 0.5


def test_a_second_run_does_no_stage_again_and_makes_the_same_bytes(made, monkeypatch):
    root, figures, _ = made

    def refuse(*_args, **_kwargs):
        raise AssertionError("done again")

    monkeypatch.setattr("retrieval.training.starter.text.make_table", refuse)
    monkeypatch.setattr("retrieval.training.starter.image.train_head", refuse)
    monkeypatch.setattr("retrieval.training.starter.pictures._see", refuse)
    first = (root / "out" / "starter.json").read_bytes()
    sources = read_sources(root / "sources.toml")
    again = run(sources, work=root / "work", out=root / "out", plan=PLAN)
    assert (root / "out" / "starter.json").read_bytes() == first
    assert again["recall"] == figures["recall"]


def test_a_source_that_is_not_there_is_named(tmp_path):
    path = write_world(tmp_path)
    shutil.rmtree(tmp_path / "cldr")
    with pytest.raises(UsageError, match="names cldr"):
        read_sources(path)
    path.write_text('classes = "classes"\n')
    with pytest.raises(UsageError, match="missing or unknown"):
        read_sources(path)


@pytest.mark.slow
def test_the_recipe_makes_its_own_trunk_and_table_and_draws_every_picture(tmp_path, monkeypatch):
    import onnx
    from safetensors.numpy import save_file

    monkeypatch.setattr(text, "Teacher", FakeTeacher)
    sources = read_sources(write_world(tmp_path))
    write_lite2(tmp_path / "lite2.safetensors", n_classes=len(THINGS))
    out = tmp_path / "out"
    out.mkdir()
    for name in ("audio.onnx", "events.onnx"):
        (out / name).write_bytes(b"kept")
    save_file({"mean": np.zeros(2, np.float32)}, out / "audio.safetensors")
    (out / "starter.json").write_text(json.dumps({"audio": {"share": 0.5}}))
    tuned = TailPlan(n_steps=2, n_drawings=8, head=HeadPlan(n_prototypes=4))
    figures = run(sources, work=tmp_path / "work", out=out, plan=replace(PLAN, tail=tuned))
    assert (out / "image.onnx").stat().st_size < 6_000_000, "int8"
    assert (out / "image.onnx").read_bytes() == (tmp_path / "work/image.tuned.onnx").read_bytes()
    tower = ImageTower(open_weights(out), threads=1)
    network = sha256((tmp_path / "work/image.tuned.onnx").read_bytes()).hexdigest()[:8]
    seen = np.load(tmp_path / f"work/pictures-validation-{network}.npz")
    assert seen["features"].shape[1:] == (1280,)
    assert seen["middle"].shape[1:] == (512,)
    _, colour, file = str(seen["keys"][0]).split("/")
    pixels = render.draw(drawing(file.split("_")[0], colour).encode(), side_px=240)
    found = tower.features([pixels])[0]
    np.testing.assert_allclose(found[:1280], seen["features"][0], rtol=2e-3, atol=2e-3)
    np.testing.assert_allclose(found[-512:], seen["middle"][0], rtol=2e-3, atol=2e-3)
    # ReLU6 belongs to the int8 scale; left beside it, the scale would cover what is clipped anyway.
    kinds = {node.op_type for node in onnx.load(str(out / "image.onnx")).graph.node}
    assert "Clip" not in kinds
    assert {"Conv", "QuantizeLinear", "ReduceMean", "ReduceMax"} <= kinds
    assert set(figures["seconds"]) >= {"image trunk", "text table", "picture features"}
