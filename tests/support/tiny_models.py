"""Tiny randomly initialised models in the layout that a fetch leaves behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from retrieval.encoders.model_folder import Manifest, entry_of, folder_name, write_manifest

CLIP_NAME = "open_clip:tiny/test"
CLAP_NAME = "clap:test/tiny"
REVISION = "0123456789abcdef0123456789abcdef01234567"
WORDS = ["a", "red", "green", "blue", "dog", "cat", "rain", "thunder", "piano", "sound", "of",
         "the", "photo", "picture", "music", "bird", "car", "engine", "voice"]  # fmt: skip


def clip_config(**preprocess: Any) -> dict[str, Any]:
    return {
        "model_cfg": {
            "embed_dim": 24,
            "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "patch_size": 8,
                           "head_width": 16},
            "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2,
                         "layers": 1},
        },
        "preprocess_cfg": {"mean": [0.48145466, 0.4578275, 0.40821073],
                           "std": [0.26862954, 0.26130258, 0.27577711], **preprocess},
    }  # fmt: skip


def make_clip(
    models_dir: Path, *, name: str = CLIP_NAME, seed: int = 0, config: dict[str, Any] | None = None
) -> Path:
    """Write a tiny open_clip model; returns its folder."""
    from retrieval.encoders.torch_cure import cure_torchvision

    cure_torchvision()
    import open_clip
    import torch
    from safetensors.torch import save_file

    folder = models_dir / folder_name(name)
    folder.mkdir(parents=True)
    (folder / "open_clip_config.json").write_text(json.dumps(config or clip_config()))
    torch.manual_seed(seed)
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    tensors = {k: v.contiguous() for k, v in model.state_dict().items()}
    save_file(tensors, folder / "open_clip_model.safetensors")
    vouch(folder, name=name, weights="open_clip_model.safetensors")
    return folder


def make_clap(
    models_dir: Path, *, name: str = CLAP_NAME, seed: int = 0, fused: bool = False
) -> Path:
    """Write a tiny CLAP model of transformers; returns its folder."""
    from retrieval.encoders.torch_cure import cure_torchvision

    cure_torchvision()
    import torch
    from transformers import ClapConfig, ClapFeatureExtractor, ClapModel

    folder = models_dir / folder_name(name)
    folder.mkdir(parents=True)
    _clap_tokenizer(folder)
    config = ClapConfig(
        text_config={"vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 1,
                     "num_attention_heads": 2, "intermediate_size": 16,
                     "max_position_embeddings": 18, "pad_token_id": 1, "projection_dim": 20},
        audio_config={"spec_size": 64, "num_mel_bins": 16, "patch_size": 4, "patch_stride": [4, 4],
                      "hidden_size": 16, "patch_embeds_hidden_size": 8, "depths": [1, 1],
                      "num_attention_heads": [2, 2], "window_size": 2, "num_hidden_layers": 2,
                      "projection_dim": 20, "enable_fusion": fused},
        projection_dim=20,
    )  # fmt: skip
    torch.manual_seed(seed)
    ClapModel(config).save_pretrained(str(folder), safe_serialization=True)
    ClapFeatureExtractor(
        feature_size=16, sampling_rate=8000, hop_length=160, max_length_s=2, fft_window_size=512,
        frequency_max=4000, truncation="fusion" if fused else "rand_trunc",
    ).save_pretrained(str(folder))  # fmt: skip
    vouch(folder, name=name, weights="model.safetensors")
    return folder


def vouch(folder: Path, *, name: str, weights: str) -> None:
    """Write the manifest over what the folder holds now."""
    files = {str(p.relative_to(folder)): entry_of(p) for p in sorted(folder.rglob("*"))
             if p.is_file() and p.name != "crossfind.json"}  # fmt: skip
    write_manifest(
        folder,
        manifest=Manifest(name=name, source="test/tiny", revision=REVISION, licence="mit",
                          weights=weights, files=files),
    )  # fmt: skip


def _clap_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    special = ["<s>", "<pad>", "</s>", "<unk>"]
    vocabulary = {word: n for n, word in enumerate([*special, *WORDS])}
    made = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = Whitespace()
    made.post_processor = TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<s>", eos_token="</s>", pad_token="<pad>",
        unk_token="<unk>", model_max_length=16,
    ).save_pretrained(str(folder))  # fmt: skip
