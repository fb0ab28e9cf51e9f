"""Reproduce published zero-shot figures with real weights, from data sets in local folders.

    python -m benchmarks.quality.published --model NAME [--models-dir DIR]
        [--flickr30k DIR] [--coco DIR] [--audiocaps DIR] [--esc50 DIR] [--limit N]

Nothing is downloaded: the data sets have their own terms. Their folders, as their sources lay them
out (a `captions.csv` is a table with one caption a row, as many rows per file as it has captions):

    flickr30k/   images/*.jpg      captions.csv: image,caption   (Karpathy's 1,000 test pictures)
    coco/        val2017/*.jpg or val2014/*.jpg                  annotations/captions_val*.json
                 karpathy.txt (optional): names of the 5,000 test pictures, one a line
    audiocaps/   audio/*.wav       captions.csv: audio,caption   (the test split)
    esc50/       audio/*.wav       meta/esc50.csv: filename,fold,target,category

Recall at 1, 5, 10: text to media asks for the one right file of each caption, media to text for any
of the file's captions. ESC-50: accuracy with the prompt "This is a sound of ...", all 2,000 clips.
Beside each figure stands the published one, where there is one for the model, and chance.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.report import Value, tell
from retrieval.config import load_settings
from retrieval.encoders.base import Encoder, Vectors
from retrieval.encoders.registry import open_encoder
from retrieval.media import Loader, find_file
from retrieval.types import Loaded, Modality

Ids = npt.NDArray[np.int64]

PROMPT = "This is a sound of {}."
# Model name's beginning -> figure -> published value (open_clip and model cards; MODELS.md).
PUBLISHED: dict[str, dict[str, float]] = {
    "open_clip:ViT-B-32/laion2b_s34b_b79k": {
        "flickr30k text->image R@1": 0.668, "flickr30k image->text R@1": 0.841,
        "coco text->image R@1": 0.393, "coco image->text R@1": 0.563,
    },
    "open_clip:ViT-B-16-SigLIP-256/webli": {
        "flickr30k text->image R@1": 0.750, "flickr30k image->text R@1": 0.904,
        "coco text->image R@1": 0.483, "coco image->text R@1": 0.661,
    },
    "clap:laion/clap-htsat-unfused": {"esc50 accuracy": 0.89},
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Captioned:
    """Files with their captions.

    Attributes:
        files: paths.
        captions: one list per file, not empty.
    """

    files: list[Path]
    captions: list[list[str]]


def read_table(folder: Path, *, media: str, column: str) -> Captioned:
    """Read `captions.csv` beside a folder of media."""
    found: dict[str, list[str]] = {}
    with (folder / "captions.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            found.setdefault(row[column], []).append(row["caption"])
    return Captioned([folder / media / name for name in found], list(found.values()))


def read_coco(folder: Path) -> Captioned:
    """Read COCO's own annotations, of the Karpathy test split where it is named."""
    [table] = sorted((folder / "annotations").glob("captions_val*.json"))[-1:]
    raw = json.loads(table.read_text(encoding="utf-8"))
    names = {row["id"]: row["file_name"] for row in raw["images"]}
    chosen = folder / "karpathy.txt"
    kept = set(chosen.read_text(encoding="utf-8").split()) if chosen.is_file() else None
    found: dict[str, list[str]] = {}
    for row in raw["annotations"]:
        name = names[row["image_id"]]
        if kept is None or name in kept:
            found.setdefault(name, []).append(row["caption"])
    place = table.stem.removeprefix("captions_")
    ordered = sorted(found)
    return Captioned([folder / place / name for name in ordered], [found[n] for n in ordered])


def read_esc50(folder: Path) -> tuple[list[Path], list[str]]:
    """Read ESC-50's own table: files and the names of their classes."""
    with (folder / "meta" / "esc50.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    files = [folder / "audio" / row["filename"] for row in rows]
    return files, [row["category"].replace("_", " ") for row in rows]


def encode_files(files: Sequence[Path], *, encoder: Encoder, modality: Modality) -> Vectors:
    """Encode files, each by the mean of its parts, in the Space that texts find it in."""
    space = encoder.space_for("text", modality)
    rows: list[Vectors] = []
    with Loader(spec=encoder.media, n_workers=load_settings().workers) as loader:
        for found, outcome in loader.load_many(find_file(path) for path in files):
            if not isinstance(outcome, Loaded):
                raise SystemExit(f"{found.path}: {outcome.reason}")
            payloads = [p.payload for p in outcome.parts if p.modality == modality]
            mean = encoder.encode(payloads, modality=modality, space=space).mean(axis=0)
            rows.append(mean / max(float(np.linalg.norm(mean)), 1e-9))
    return np.stack(rows).astype(np.float32)


def recalls(
    media: Vectors, *, texts: Vectors, owners: Ids, ks: Iterable[int] = (1, 5, 10)
) -> dict[str, float]:
    """Recall both ways.

    Args:
        media: float32 [M, D].
        texts: float32 [T, D].
        owners: int64 [T], the row of media that each text describes.
        ks: how far down a right answer may be.

    Returns:
        `text->media R@k` and `media->text R@k`.
    """
    scores = texts @ media.T
    out: dict[str, float] = {}
    there = (-scores).argsort(axis=1, kind="stable")
    back = (-scores.T).argsort(axis=1, kind="stable")
    for k in ks:
        out[f"text->media R@{k}"] = float((there[:, :k] == owners[:, None]).any(axis=1).mean())
        right = owners[back[:, :k]] == np.arange(len(media))[:, None]
        out[f"media->text R@{k}"] = float(right.any(axis=1).mean())
    return out


def measure_captioned(
    data: Captioned, *, name: str, encoder: Encoder, modality: Modality, limit: int
) -> dict[str, Value]:
    """Encode a captioned set and measure recall."""
    files, captions = data.files[:limit], data.captions[:limit]
    media = encode_files(files, encoder=encoder, modality=modality)
    flat = [caption for of_one in captions for caption in of_one]
    owners = np.repeat(np.arange(len(files)), [len(of_one) for of_one in captions])
    texts = encoder.encode(flat, modality="text", space=encoder.space_for("text", modality))
    out: dict[str, Value] = {f"{name} files": len(files), f"{name} chance R@1": 1 / len(files)}
    for key, value in recalls(media, texts=texts, owners=owners).items():
        out[f"{name} {key.replace('media', modality)}"] = value
    return out


def measure_esc50(folder: Path, *, encoder: Encoder, limit: int) -> dict[str, Value]:
    """Zero-shot accuracy over the class names."""
    files, labels = (values[:limit] for values in read_esc50(folder))
    classes = sorted(set(labels))
    space = encoder.space_for("text", "audio")
    prompts = [PROMPT.format(name) for name in classes]
    names = encoder.encode(prompts, modality="text", space=space)
    sounds = encode_files(files, encoder=encoder, modality="audio")
    guessed = [classes[row] for row in (sounds @ names.T).argmax(axis=1)]
    accuracy = float(np.mean([a == b for a, b in zip(guessed, labels, strict=True)]))
    return {"esc50 accuracy": accuracy, "esc50 chance": 1 / len(classes)}


def measure(encoder: Encoder, *, folders: dict[str, Path], limit: int) -> dict[str, Value]:
    """Measure every set whose folder is given."""
    readers: dict[str, tuple[Modality, Callable[[Path], Captioned]]] = {
        "flickr30k": ("image", lambda f: read_table(f, media="images", column="image")),
        "coco": ("image", read_coco),
        "audiocaps": ("audio", lambda f: read_table(f, media="audio", column="audio")),
    }
    figures: dict[str, Value] = {"model": encoder.name}
    for name, (modality, read) in readers.items():
        if name in folders:
            figures |= measure_captioned(
                read(folders[name]), name=name, encoder=encoder, modality=modality, limit=limit
            )
    if "esc50" in folders:
        figures |= measure_esc50(folders["esc50"], encoder=encoder, limit=limit)
    for key, value in PUBLISHED.get(encoder.name, {}).items():
        if key in figures:
            figures[f"{key}, published"] = value
    return figures


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True)
    parser.add_argument("--models-dir")
    parser.add_argument("--limit", type=int, default=1_000_000, help="files of each set")
    for name in ("flickr30k", "coco", "audiocaps", "esc50"):
        parser.add_argument(f"--{name}", type=Path)
    options = vars(parser.parse_args())
    threads = load_settings().threads
    encoder = open_encoder(options["model"], threads=threads, models_dir=options["models_dir"])
    folders = {n: options[n] for n in ("flickr30k", "coco", "audiocaps", "esc50") if options[n]}
    if not folders:
        parser.error("name at least one data set's folder")
    tell("published", measure(encoder, folders=folders, limit=options["limit"]))


if __name__ == "__main__":
    main()
